// snell plan: what memory a run will take, before it is started.
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app.h"
#include "snell/core/text.h"
#include "snell/data/dataset_file.h"
#include "snell/report/table.h"
#include "snell/train/memory_plan.h"

namespace snell::apps {
namespace {

using core::str;
using train::MemoryUse;

constexpr double kMegabyte = 1 << 20;  // as in a run's record: peak_memory_mb
constexpr int64_t kClassesOfImageNet = 1000;

struct Options {
  std::vector<std::string> overrides;
  std::string config_dir;
  std::optional<int64_t> classes;
  int64_t ranks = 1;
  double limit_mb = 0;  // 0: the machine's memory, shared by its ranks
  bool json = false;
};

// A config must choose its data, which a plan does not need.
std::vector<std::string> with_data(std::vector<std::string> overrides) {
  const bool has_data = std::any_of(overrides.begin(), overrides.end(), [](const std::string& text) {
    return text.starts_with("data=") || text.starts_with("experiment=") || text.starts_with("+experiment=");
  });
  if (!has_data) overrides.insert(overrides.begin(), {"data=imagefolder", "data.file=none"});
  const bool has_dir =
      std::any_of(overrides.begin(), overrides.end(), [](const auto& text) { return text.starts_with("run.dir="); });
  if (!has_dir) overrides.push_back("run.dir=none");
  return overrides;
}

train::PlanRequest request_of(const train::JobConfig& config, const Options& o) {
  train::PlanRequest request;
  request.num_classes = o.classes.value_or(kClassesOfImageNet);
  request.num_ranks = o.ranks;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(config.data.file, ignored)) return request;
  const data::DatasetInfo info = data::describe_dataset(config.data.file);
  if (!o.classes) request.num_classes = static_cast<int64_t>(info.class_names.size());
  for (const auto& split : info.splits) {
    if (split.name == config.data.train_split) request.train_samples = split.size;
    if (split.name == config.data.eval_split) request.eval_samples = split.size;
  }
  return request;
}

double megabytes(int64_t bytes) {
  return static_cast<double>(bytes) / kMegabyte;
}

double machine_mb() {
  return static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE)) / kMegabyte;
}

report::Table table_of(const train::MemoryPlan& plan, int64_t program) {
  const train::MemoryCount& peak = plan.largest().count;
  report::Table table({{"what", "what"}, {"mb", "MB"}});
  const auto row = [&](const char* what, int64_t bytes) { table.add({what, std::llround(megabytes(bytes))}); };
  row("weights", peak.of(MemoryUse::kWeights));
  row("gradients", peak.of(MemoryUse::kGradients));
  row("optimizer's state", peak.of(MemoryUse::kOptimizer));
  row("moving average of the weights", peak.of(MemoryUse::kAverages));
  row("batches of images", peak.of(MemoryUse::kImages));
  row("activations", peak.of(MemoryUse::kForward));
  row("working memory of the backward pass", peak.of(MemoryUse::kBackward));
  row("working memory of the update", peak.of(MemoryUse::kOther));
  row("program and libraries", program);
  row("total a rank", peak.total() + program);
  return table;
}

double total_mb(const train::MemoryPlan& plan, int64_t program) {
  return megabytes(plan.largest().count.total() + program);
}

// Changes of the config that take less, with what they lead to.
std::vector<std::pair<std::string, double>> remedies(const Options& o, const train::JobConfig& config, double before,
                                                     int64_t program) {
  std::vector<std::pair<std::string, double>> out;
  const auto attempt = [&](const std::string& change) {
    try {
      auto overrides = with_data(o.overrides);
      overrides.push_back(change);
      const Job job = compose_job(o.config_dir, overrides);
      const double mb = total_mb(train::plan_memory(job.config, request_of(job.config, o)), program);
      if (mb < 0.98 * before) out.emplace_back(change, mb);
    } catch (const core::ConfigError&) {
      // A setting that this config cannot have.
    }
  };
  if (config.data.batch_size > o.ranks) attempt(str("data.batch_size=", std::max(o.ranks, config.data.batch_size / 2)));
  if (config.data.batch_size > o.ranks * config.optim.accumulate) {
    attempt(str("optim.accumulate=", 2 * config.optim.accumulate));
  }
  if (config.data.eval_batch_size > 1) attempt(str("data.eval_batch_size=", config.data.eval_batch_size / 2));
  attempt("backbone.checkpoint_blocks=true");
  attempt("adapter.delta_cache=recompute");
  if (config.run.dtype == "float32") attempt("run.dtype=bfloat16");
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return out;
}

int run(const Options& o) {
  return with_mpi([&](dist::ControlPlane&) {
    const Job job = compose_job(o.config_dir, with_data(o.overrides));
    if (job.config.run.threads > 0) at::set_num_threads(static_cast<int>(job.config.run.threads));
    const bool cuda = job.config.run.device == "cuda";
    const train::MemoryPlan plan = train::plan_memory(job.config, request_of(job.config, o));
    const int64_t program = cuda ? 0 : train::measure_program(job.config);
    const double total = total_mb(plan, program);
    const double limit = o.limit_mb > 0 ? o.limit_mb : machine_mb() / static_cast<double>(o.ranks);
    const report::Table table = table_of(plan, program);
    nlohmann::ordered_json json = {
        {"total_mb", total},      {"program_mb", megabytes(program)},     {"limit_mb", limit},
        {"fits", total <= limit}, {"largest_phase", plan.largest().name}, {"phases", nlohmann::ordered_json::object()},
        {"memory", table.json()}};
    std::string text = table.text() + str("\nlargest in     ", plan.largest().name, "\n");
    if (cuda) {
      text += "On a GPU: tensors alone. CUDA's context and what its allocator keeps come on top; not measured.\n";
    }
    for (const auto& phase : plan.phases) json["phases"][phase.name] = megabytes(phase.count.total() + program);
    if (total > limit) {
      text +=
          str("\nThis is more than the ", std::llround(limit), " MB that are there. What would help, and its total:\n");
      report::Table help({{"change", "change"}, {"mb", "MB"}});
      for (const auto& [change, mb] : remedies(o, job.config, total, program)) help.add({change, std::llround(mb)});
      text += help.text();
      json["remedies"] = help.json();
    }
    std::cout << (o.json ? json.dump(2) + "\n" : text);
    return 0;
  });
}

}  // namespace

void add_plan(CLI::App& app, Action& chosen) {
  auto o = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("plan",
                         "Tell what memory a training run will take, without running it (docs/performance.md).\n"
                         "Example: snell plan experiment=vtab/snell32/cifar data.batch_size=64 --ranks 2");
  command->add_option("overrides", o->overrides, "group=option, key=value, +key=value, ~key");
  command->add_option("--config-dir", o->config_dir, "a folder of own configs, in front of the shipped ones");
  command
      ->add_option("--classes", o->classes, "of the head; default: the data set's where its file is there, else 1000")
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("--ranks", o->ranks, "processes that share the global batch")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--limit-mb", o->limit_mb, "memory for a rank; default: the machine's, shared by the ranks")
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", o->json, "print as JSON");
  command->callback([o, &chosen] { chosen = [o] { return run(*o); }; });
}

}  // namespace snell::apps
