// The parts of `snell plan`.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "app.h"
#include "snell/plan/scaling.h"
#include "snell/train/memory_plan.h"

namespace snell::apps {

struct PlanOptions {
  std::vector<std::string> overrides;  // of the config
  std::vector<std::string> machine_overrides;
  std::string config_dir, machine, svg, html;
  std::optional<int64_t> classes, ranks, nodes, ranks_per_node;
  int64_t most_ranks = 1024;  // of --scaling
  double limit_mb = 0;        // 0: the machine's memory, shared by its ranks
  bool json = false, scaling = false, calibrate = false;
};

// The config of the overrides; one that chooses no data needs none for a plan.
Job plan_job(const PlanOptions& options, const std::vector<std::string>& more = {});
train::PlanRequest plan_request(const train::JobConfig& config, const PlanOptions& options, int64_t ranks);

// The machine of --machine with what the command line changes, and the ranks that are asked for.
struct Cluster {
  plan::Machine machine;
  plan::Ranks ranks;
};
std::optional<Cluster> plan_cluster(const PlanOptions& options);

// What a plan says of a cluster: for people, and for programs (keys "machine", "step", "scaling" of `json`).
struct ClusterReport {
  std::string text;
  nlohmann::ordered_json json;
};
// `program_bytes`: of the process itself, beside its tensors. Writes --svg and --html where they are asked for.
ClusterReport report_cluster(const PlanOptions& options, const Cluster& cluster, const Job& job,
                             const train::MemoryPlan& plan, int64_t program_bytes);

}  // namespace snell::apps
