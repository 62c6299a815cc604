// What the loop tells those who watch it. Hooks run after the fact, on every rank; they must call no collectives.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "snell/core/frozen_storage.h"
#include "snell/dist/stragglers.h"
#include "snell/train/evaluate.h"
#include "snell/train/step.h"

namespace snell::train {

// Where a run stands. Saved in checkpoints.
struct Position {
  int64_t step = 0;           // optimizer steps done
  int64_t epoch = 0;          // epochs done
  int64_t step_in_epoch = 0;  // steps done of the epoch under way
  int64_t samples_seen = 0;
  double last_train_loss = 0;  // mean of the last whole epoch (or of the part that this process ran)
  double best_top1 = -1;       // percent; -1: not evaluated yet
  int64_t best_epoch = 0;
  double best_ema_top1 = -1;  // of the weights' moving average
  int64_t best_ema_epoch = 0;
  int64_t evaluated_step = 0;  // the step after which was judged last
};

// What the sum of a step's gradients over the ranks cost; zeros on one rank.
struct StepTraffic {
  int64_t bytes_all_reduced = 0;   // payload that this rank handed to the communicator
  double wire_bytes = 0;           // what a rank sent for it, as the mean over the ranks
  int64_t bytes_across_nodes = 0;  // in two levels: payload of the sums across nodes
  double reduce_exposed_s = 0;     // time of the step that went into waiting for the sums
};

struct StepEvent {
  Position position;  // after the step
  double lr = 0;
  StepStats stats;
  StepTraffic traffic;
  core::FetchTotals fetched;  // sharded frozen weights, of this rank since the step before
};

// New sparsities, before an epoch is trained.
struct AllocationEvent {
  struct Layer {
    std::string name;         // "blocks.0.attn.q"
    int64_t num_entries = 0;  // of ΔW
    double sparsity = 0;
  };
  Position position;
  std::vector<Layer> layers;
};

struct EvalEvent {
  Position position;
  double lr = 0;
  EvalResult result;
  bool is_best = false;  // of these weights
  bool ema = false;      // the weights' moving average was judged, not the weights
};

// Ranks that were slow over the last dist.watchdog.straggler_every steps.
struct StragglerEvent {
  Position position;
  std::vector<dist::Straggler> stragglers;
};

struct CheckpointEvent {
  int64_t step = 0;
  std::string path;
  int64_t bytes = 0;
  double seconds = 0;
};

class Hook {
 public:
  virtual ~Hook() = default;
  virtual void on_allocation(const AllocationEvent&) {}
  virtual void on_step(const StepEvent&) {}
  virtual void on_eval_progress(int64_t /*done*/, int64_t /*of*/) {}
  virtual void on_evaluation(const EvalEvent&) {}
  virtual void on_stragglers(const StragglerEvent&) {}
  virtual void on_checkpoint(const CheckpointEvent&) {}
};

}  // namespace snell::train
