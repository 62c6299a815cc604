// Sums gradients over the ranks. The verbs of a step:
//
//   for shard in shards { reducer.begin(shard.id, last); …forward…; loss.backward(); reducer.end(); }
//   reducer.finish();     // now every .grad is the sum over shards and ranks, equal on all ranks
//
// Scaling is the loss's business: it is divided by the global count already.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "snell/dist/communicator.h"

namespace snell::dist {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

struct ReducerStats {
  int64_t bytes_per_step = 0;  // payload that this rank hands to the communicator in a step, in the type on the wire
  int64_t num_buckets = 0;
  int64_t steps = 0;
  double exposed_seconds = 0;       // in all steps: host time that finish() took, not hidden behind backward
  double last_exposed_seconds = 0;  // in the last step; on CUDA the host does not wait, and this is about 0
};

class Reducer {
 public:
  virtual ~Reducer() = default;
  // Before a shard's forward pass. `last_shard`: no backward pass of this rank follows in this step.
  virtual void begin(int64_t shard_id, bool last_shard) = 0;
  virtual void end() = 0;
  virtual void finish() = 0;
  virtual const ReducerStats& stats() const = 0;
};

// Gradients lie in flat buckets, and each parameter's .grad is a view into its bucket, so that nothing is copied.
// Buckets are cut when this is built: parameters in reverse order of registration (about the order in which backward
// reaches them), a new bucket where the next would pass `bucket_bytes` or has another type. In the last shard's
// backward pass a bucket is handed to all_reduce once all its gradients have arrived and all buckets before it were
// handed over: the same order on every rank, whatever order the hooks fire in. finish() hands over the rest: a
// parameter that got no gradient on this rank contributes zeros.
//
// - With a `wire_type`, buckets of another type are cast to it when they are handed over, summed in it, and cast back
//   by finish(): a copy of the gradients in that type. Not with one rank.
// - The first begin() of a step zeroes the buckets and puts the views back, so zero_grad() of any kind may come before.
//   Between begin() and finish() nobody else may assign .grad.
// - One backward pass a shard. A gradient that arrives after its bucket was handed over, or twice in the last shard, is
//   an error, thrown out of backward().
// - Threads: hooks run on autograd's thread (CPU: the caller's); a mutex orders them. Streams: build it, and run
// forward
//   passes, on the same stream. finish() makes the current stream wait for the sums.
// - While it lives it owns the hooks of the parameters; `communicator` must outlive it.
class BucketedReducer : public Reducer {
 public:
  // Collective: throws ReplicaError when the ranks' parameters differ in name, shape or type. All parameters are leaves
  // that require gradients, on one device.
  BucketedReducer(std::vector<NamedTensor> trainables, Communicator& communicator, int64_t bucket_bytes,
                  std::optional<c10::ScalarType> wire_type = std::nullopt);
  ~BucketedReducer() override;

  void begin(int64_t shard_id, bool last_shard) override;
  void end() override;
  void finish() override;
  const ReducerStats& stats() const override;

 private:
  class State;
  std::unique_ptr<State> state_;
};

// Bytes of a bucket: at most `limit`, and so many that there are about eight buckets (of 1 MiB at least), since a
// bucket is summed once its last gradient is there: one that holds everything would not overlap with the backward pass.
int64_t bucket_bytes_for(const std::vector<NamedTensor>& trainables, int64_t limit);

}  // namespace snell::dist
