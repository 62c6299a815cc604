// One optimizer step as a short sequence of verbs. Legend: B samples of a shard, K classes.
#pragma once

#include <cstdint>
#include <vector>

#include "snell/core/hash.h"
#include "snell/data/batch.h"
#include "snell/dist/control_plane.h"
#include "snell/dist/reducer.h"
#include "snell/nn/backbone.h"
#include "snell/train/loss_scaler.h"
#include "snell/train/optimizer.h"

namespace snell::train {

// Sum over the samples of the cross-entropy of `logits_BK` against class numbers [B] or target distributions [B, K].
at::Tensor cross_entropy_sum(const at::Tensor& logits_BK, const at::Tensor& targets, double label_smoothing = 0);

// What a step yields: a value; logging and saving are the caller's.
struct StepStats {
  double loss = 0;       // mean over the global batch
  double grad_norm = 0;  // before clipping
  int64_t samples = 0;   // of the global batch
  int64_t correct = 0;
  double seconds = 0;
  bool finite = true;         // false: the update was not made, on no rank
  double loss_scale = 1;      // of this step
  int64_t skipped_steps = 0;  // updates of the run so far that float16's loss scale did not let through
  int stop_signal = 0;        // the signal that any rank caught, agreed over all
};

// What the gradients of a step hashed to, where a chain is kept (chain.h).
struct GradientHashes {
  std::vector<core::Hash128> mine;    // of this rank's shards, filled before their tally is taken
  std::vector<core::Hash128> shards;  // of all shards: what train_step() gathers beside their losses
  core::Hash128 sum;
};

struct StepParts {
  const nn::Backbone& model;
  Optimizer& optimizer;
  dist::Reducer& reducer;
  dist::ControlPlane& control;
  const OptimConfig& config;
  nn::TensorPlace place;
  LossScaler* scaler = nullptr;      // float16's
  GradientHashes* hashes = nullptr;  // where a chain is kept
};

// What the gradients' part of a step yields, on the device and not waited for.
struct StepTensors {
  std::vector<at::Tensor> losses, corrects;  // 0-d, of each shard of this rank
  at::Tensor grad_norm;                      // 0-d, before clipping
};

// Forward and backward over this rank's shards, the all-reduce, and clipping: all of a step but the update. Collective.
StepTensors compute_gradients(const StepParts& parts, const data::Batch& batch, uint64_t seed, int64_t step);

// compute_gradients() and the update. Collective.
StepStats train_step(const StepParts& parts, const data::Batch& batch, uint64_t seed, int64_t step);

}  // namespace snell::train
