// Frozen weights sharded over the ranks of a communicator. Each rank keeps 1/N of every block's weights; a block is
// gathered just before its first use, in the forward and in the backward pass, and the next one while it is used. At
// most two gathered blocks are there at a time.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <memory>

#include "snell/core/frozen_storage.h"
#include "snell/dist/communicator.h"

namespace snell::dist {

struct ShardedTypes {
  c10::ScalarType stored = c10::ScalarType::Float;   // kept and gathered; bfloat16 halves both
  c10::ScalarType compute = c10::ScalarType::Float;  // what acquire() gives
  c10::Device device{c10::DeviceType::CPU};
};

struct ShardedStats {
  int64_t weight_bytes = 0;  // of all weights in the stored type
  int64_t shard_bytes = 0;   // this rank's share of them, padding included
  int64_t buffer_bytes = 0;  // of the gathered blocks that there were at once, at most
  int64_t largest_block_bytes = 0;
  int64_t gathers = 0;     // started
  int64_t unforeseen = 0;  // of them, those that were waited for from their start: not foreseen
  core::FetchTotals fetched;
};

// A block's weights lie one after the other in a flat tensor that is cut into N equal slices, padded at the end.
// Which block comes next is foreseen from what followed the same two blocks the last time (at first: the next one in
// the same direction), so the forward pass, the backward pass, gradient accumulation and evaluation each find their
// order; a block that was not foreseen is gathered on demand, and nothing is wrong but late.
//
// - Every rank acquires the same weights in the same order (the same graph, also for shards without samples), so that
//   all ranks start the same gathers in the same order. Set all weights before the first acquire().
// - At most one block is held between acquire() and release() at a time; what acquire() returned must not be used after
//   release(), for its memory is given to another block.
// - With one rank nothing is gathered: the weights are the shard.
// - Threads: any, one at a time (a mutex orders them). CUDA streams: acquire, use and release on one stream. A gather
//   starts after what that stream holds when it is started, hence after the last use of the memory it overwrites, and
//   acquire() makes the stream wait for it; the host does not wait, and `exposed_seconds` is about 0.
// - CPU, CUDA, or meta tensors (with a communicator that does nothing, for counting memory).
class ShardedWeights : public core::FrozenStorage {
 public:
  // `communicator`: of the ranks that share one set of weights (all, or those of a node), for nothing else.
  ShardedWeights(std::shared_ptr<Communicator> communicator, const ShardedTypes& types);
  ~ShardedWeights() override;

  bool is_collective() const override;
  core::FetchTotals fetched() const override;
  ShardedStats stats() const;

 protected:
  std::shared_ptr<core::StoredWeight> make(const core::FrozenSpec& spec) override;

 private:
  class State;
  class Weight;
  std::shared_ptr<State> state_;  // shared with the weights
};

}  // namespace snell::dist
