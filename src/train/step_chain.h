// The chain (chain.h) beside the loop: hashes each shard's gradients where they are made, and tells rank 0's file, or a
// replay, what a step came to.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "snell/dist/control_plane.h"
#include "snell/peft/tuning.h"
#include "snell/train/chain.h"
#include "snell/train/job_config.h"
#include "snell/train/step.h"
#include "snell/train/trainer.h"

namespace snell::train {

class StepChain {
 public:
  // `scaler` may be null. All must outlive it.
  StepChain(const TrainerSeams& seams, const peft::TunedModel& model, const LossScaler* scaler)
      : seams_(seams), model_(model), scaler_(scaler) {}

  // What the reducer is built with, and the step is given.
  dist::ShardObserver shard_observer();
  dist::SumObserver sum_observer();
  GradientHashes* hashes() { return &hashes_; }

  // The model was filled from this checkpoint.
  void resume_from(const ckpt::Manifest& manifest) { checkpoint_link_ = chain_link_of(manifest); }
  // Before the first step: `step` are done. Collective. Throws AgreedError for what ChainWriter throws on rank 0.
  void begin(const JobConfig& config, const std::string& config_json, const RunFacts& facts, int64_t step,
             dist::ControlPlane& control);
  // After each step, on every rank; rank 0 writes, and throws DiskError where it cannot.
  void add(int64_t step, double loss);
  // Before a checkpoint. Rank 0's link, which the checkpoint keeps; "" on other ranks and in replays.
  std::string flush();

 private:
  // What a step changes and what one rank and many must then have alike.
  core::Hash128 state() const;

  const TrainerSeams& seams_;
  const peft::TunedModel& model_;
  const LossScaler* scaler_;
  std::optional<std::string> checkpoint_link_;  // nothing: a fresh run
  bool is_root_ = true;
  GradientHashes hashes_;
  std::unique_ptr<ChainWriter> writer_;  // rank 0's, unless this is a replay
};

}  // namespace snell::train
