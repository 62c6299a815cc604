// Collectives of CPU tensors over the ranks of MPI's world, or a group of them, on an MPI communicator of its own.
//
// Threads: one communication thread an object does all MPI calls (mpi_progress.h); the caller's thread only submits and
// waits. float16 and bfloat16 are reduced in float32, rounded after every addition. Tensors of more than `max_count`
// elements are reduced in parts, since MPI counts in an int.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "snell/dist/communicator.h"
#include "snell/dist/groups.h"

namespace snell::dist {

class MpiCommunicator : public Communicator {
 public:
  // Collective. `purpose` names the MPI communicator "snell.<purpose>".
  explicit MpiCommunicator(const std::string& purpose = "tensors", int64_t max_count = int64_t{1} << 30);
  // Of this rank's group alone. Collective over all ranks of the world.
  MpiCommunicator(const std::string& purpose, const RankGroup& group, int64_t max_count = int64_t{1} << 30);
  ~MpiCommunicator() override;

  int rank() const override;
  int size() const override;
  const char* name() const override { return "mpi"; }

  std::unique_ptr<Work> all_reduce_async(at::Tensor tensor, ReduceOp op) override;
  void broadcast(at::Tensor tensor, int root) override;
  std::unique_ptr<Work> all_gather_async(const at::Tensor& input, at::Tensor output) override;
  std::unique_ptr<Work> reduce_scatter_async(const at::Tensor& input, at::Tensor output, ReduceOp op) override;
  void all_to_all(const at::Tensor& input, at::Tensor output) override;
  void barrier() override;
  void abort() noexcept override;
  int64_t bytes(const std::string& collective) const override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace snell::dist
