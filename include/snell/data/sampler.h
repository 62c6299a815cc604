// Which samples a rank sees at a step: plain arithmetic on the epoch's order, without any state.
//
// Slot: a position in the epoch's order; sample = order[slot]. Step s of an epoch takes the slots [s·B, min((s+1)·B,
// N)) for the global batch size B. They are cut into V virtual shards, evenly and in order, and rank r of R takes the
// shards [r·V/R, (r+1)·V/R). So what a shard holds does not depend on R.
#pragma once

#include <cstdint>
#include <vector>

namespace snell::data {

// The order of an epoch's samples, a function of (seed, epoch) alone: Fisher-Yates over the stream (seed, kShuffle,
// epoch).
std::vector<uint32_t> shuffled_order(int64_t num_samples, uint64_t seed, int64_t epoch);
// 0, 1, …, num_samples - 1: evaluation's order.
std::vector<uint32_t> plain_order(int64_t num_samples);

// A virtual shard of a step: slots [first, last); empty ones become dummies.
struct ShardSlots {
  int64_t id = 0;
  int64_t first = 0, last = 0;
  bool operator==(const ShardSlots&) const = default;
};

class BatchPlan {
 public:
  // num_samples N (< 2^32), batch_size B (global), num_shards V, num_ranks R. Throws ConfigError unless V is a positive
  // multiple of R and B is positive. drop_last leaves a partial last batch out.
  BatchPlan(int64_t num_samples, int64_t batch_size, int64_t num_shards, int64_t num_ranks, bool drop_last = false);

  int64_t num_samples() const { return num_samples_; }
  int64_t num_steps() const { return num_steps_; }
  // True samples of step `step` over all ranks.
  int64_t global_count(int64_t step) const;
  // All of this rank's shards of a step in order, V/R of them, empty ones included.
  std::vector<ShardSlots> shards(int64_t step, int64_t rank) const;

 private:
  int64_t num_samples_, batch_size_, num_shards_, num_ranks_, num_steps_;
};

}  // namespace snell::data
