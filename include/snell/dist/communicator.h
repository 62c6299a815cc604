// The tensor plane: collectives over the ranks of a job. Implementations: Self (one process), Mpi (CPU tensors), Nccl
// (CUDA tensors). A communicator knows nothing of graphs, optimizers or files. Counts and types come from the tensor.
//
// Every rank must call the same collectives in the same order with equal shapes and types.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace at {
class Tensor;
}

namespace snell::dist {

enum class ReduceOp { kSum, kMin, kMax };

// A collective that was started. Must be waited for before its tensor is read, written or freed.
// CPU: wait() returns when the result is there. CUDA: wait() makes the current stream wait; the host goes on.
class Work {
 public:
  virtual ~Work() = default;
  virtual void wait() = 0;
};

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual const char* name() const = 0;  // "self", "mpi", "nccl"

  // In place. Contiguous float32, float64, int64, int32, uint8 (and float16, bfloat16 where the transport sums them).
  virtual std::unique_ptr<Work> all_reduce_async(at::Tensor tensor, ReduceOp op) = 0;
  virtual void broadcast(at::Tensor tensor, int root) = 0;
  // `output` is [size · numel(input)], rank by rank.
  virtual std::unique_ptr<Work> all_gather_async(const at::Tensor& input, at::Tensor output) = 0;
  // `input` is [size · numel(output)]; rank i receives the sum of the i-th parts.
  virtual std::unique_ptr<Work> reduce_scatter_async(const at::Tensor& input, at::Tensor output, ReduceOp op) = 0;
  // Equal parts: part j of `input` goes to rank j, part i of `output` came from rank i.
  virtual void all_to_all(const at::Tensor& input, at::Tensor output) = 0;
  virtual void barrier() = 0;

  // The same, and waited for.
  void all_reduce(at::Tensor tensor, ReduceOp op);
  void all_gather(const at::Tensor& input, at::Tensor output);
  void reduce_scatter(const at::Tensor& input, at::Tensor output, ReduceOp op);

  // Gives up what is under way, for an end with an error: whoever waits gets core::Error, and nothing may be started
  // afterwards. Any thread, also while another waits in a collective.
  virtual void abort() noexcept {}

  // Payload bytes that this rank handed to collectives since the start, by kind: "all_reduce", "broadcast", ...
  virtual int64_t bytes(const std::string& collective) const = 0;
  // Bytes that a rank sent in collectives of this kind, as the mean over the ranks: payload × wire_factor().
  virtual double wire_bytes(const std::string& collective) const;
  // Payload bytes of those collectives in which only ranks of different nodes meet; 0 unless it knows nodes
  // (two-level).
  virtual int64_t bytes_across_nodes() const { return 0; }
};

// What a rank sends in a collective of `size` ranks, over its payload; the mean over the ranks. A sum of R ranks takes
// 2(R - 1)/R as a ring and as a tree alike (a ring deals it out evenly); all_gather R - 1; the others (R - 1)/R.
// Throws core::Error for an unknown name.
double wire_factor(const std::string& collective, int size);

}  // namespace snell::dist
