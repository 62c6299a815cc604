// A training run: wired from a config, resumed from its folder, and driven to its end.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "snell/ckpt/checkpoint.h"
#include "snell/dist/control_plane.h"
#include "snell/dist/ordered_reducer.h"
#include "snell/train/chain.h"
#include "snell/train/hooks.h"
#include "snell/train/job_config.h"

namespace snell::train {

struct TrainResult {
  Position position;
  std::optional<EvalResult> last;      // of this process; nothing when it evaluated never
  std::optional<EvalResult> last_ema;  // of the weights' moving average
  int stop_signal = 0;                 // the run was saved and stopped early for it
  double seconds = 0;
};

struct RunFacts {  // of a model that is wired: for tables and reports
  int64_t num_ranks = 1;
  std::string device;
  int64_t trainable_elements = 0;
  int64_t adapter_elements = 0;
  int64_t backbone_elements = 0;  // published tensors without the head
  int64_t bytes_per_step = 0;     // all-reduced by a rank
  int64_t train_samples = 0, eval_samples = 0, num_classes = 0;
  int64_t steps_per_epoch = 0, total_steps = 0;
  std::optional<std::string> resumed_from;
};

// Runs a stretch of a run again, which keeps nothing (verify.h).
struct Replay {
  std::string checkpoint;                             // where it starts: a checkpoint's folder; "": as a fresh run does
  std::function<void(core::Hash128 state)> on_start;  // state_hash() there
  std::function<void(const ChainRecord&)> on_record;  // of each step, in place of the run's chain
};

// What replays and tests change of a run.
struct TrainerSeams {
  std::optional<Replay> replay;
  // Sees the gradients of each shard of this rank before they are hashed and added (dist.reproducible only).
  dist::ShardObserver shard_observer;
};

class Trainer {
 public:
  // Collective. `config_json` is the composed config, kept in checkpoints and compared on resume. Throws for everything
  // that can be known before the first step.
  Trainer(const JobConfig& config, std::string config_json, dist::ControlPlane& control, TrainerSeams seams = {});
  ~Trainer();

  const RunFacts& facts() const;
  const Position& position() const;
  // The trained tensors and the thresholds: what model.safetensors holds.
  std::vector<ckpt::TensorRef> trained() const;
  // The same of the weights' moving average; empty without optim.ema.
  std::vector<ckpt::TensorRef> trained_ema() const;
  // Called in order; not owned; before run().
  void add_hook(Hook& hook);

  // Trains to the end, or until a signal asks for a stop (saved first). Collective. Throws NonFiniteError on every rank
  // when loss or gradient norm is not finite.
  TrainResult run();

 private:
  class Run;
  std::unique_ptr<Run> run_;
};

}  // namespace snell::train
