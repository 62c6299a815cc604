// What memory a training process of a config takes, found without training: the step runs on the meta device.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "snell/plan/trace.h"
#include "snell/train/job_config.h"
#include "snell/train/meta_memory.h"

namespace snell::train {

struct PlanRequest {
  int64_t num_classes = 1000;
  int64_t num_ranks = 1;
  int64_t ranks_per_node = 1 << 20;  // of dist.shard_frozen=hybrid, where dist.node_size does not say it
  // Of the data set; 0: not known, taken to be large.
  int64_t train_samples = 0, eval_samples = 0;
};

struct PhaseMemory {
  std::string name;   // "making the model", "training", "evaluation"
  MemoryCount count;  // at its peak
};

struct MemoryPlan {
  std::vector<PhaseMemory> phases;
  int64_t trainable_bytes = 0;
  plan::Trace step;  // rank 0's part of a step: operations and collectives in their order
  const PhaseMemory& largest() const;
};

// The tensors of one rank of the run: the model's making, two steps, and an evaluation if the run has one. Throws
// ConfigError as making the model does.
MemoryPlan plan_memory(const JobConfig& config, const PlanRequest& request);

// Bytes of this process that are resident: what the program itself takes before there is a model. To count what
// LibTorch's kernels bring in when they first run, a step of a tiny model of the same kind is taken on the CPU first.
int64_t measure_program(const JobConfig& config);

}  // namespace snell::train
