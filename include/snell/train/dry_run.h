// Whether a run of many ranks would start and fit, found by one process that starts none of them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "snell/core/error.h"
#include "snell/plan/cost.h"
#include "snell/train/job_config.h"

namespace snell::train {

struct Finding {
  enum class Status { kOk, kWarn, kFail };
  std::string check{};  // "data", "memory", …
  Status status = Status::kOk;
  std::string text{};                         // what was found; what to do about it
  core::ExitCode code = core::ExitCode::kOk;  // that the run would end with: kFail only
};
const char* status_name(Finding::Status status);

struct DryRunRequest {
  plan::Ranks ranks;
  const plan::Machine* machine = nullptr;  // null: this machine's memory is looked at
};

// Looks at: the data file and its splits; how batches, shards and ranks divide; settings that many ranks cannot have;
// the weight file, tensor by tensor, without a model in memory; the memory of a rank; the run's folder; the disk for
// its checkpoints; what it would resume from. Every check is made, whatever the ones before it found. Writes one file
// of no bytes beside the run's folder and removes it. Throws nothing that a check can say.
std::vector<Finding> dry_run(const JobConfig& config, const DryRunRequest& request);

// Of the first finding that fails; kOk where none does.
core::ExitCode exit_code_of(const std::vector<Finding>& findings);

}  // namespace snell::train
