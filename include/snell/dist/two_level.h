// All-reduce in two levels: reduce-scatter within the node, all-reduce of each slice across the nodes, all-gather
// within the node. A rank of a node of L hands 1/L of the payload to a collective that leaves the node, where a flat
// one hands over all of it; what a rank sends in all is the same.
#pragma once

#include <memory>

#include "snell/dist/communicator.h"
#include "snell/dist/config.h"
#include "snell/dist/control_plane.h"

namespace snell::dist {

class CollectiveChain;

// Over three communicators of the same kind: all ranks, those of this node, and those with this local rank, one of
// every node; all nodes have as many ranks. Everything but all_reduce goes through the first, as do an all_reduce's
// last elements that the node's ranks cannot share evenly.
//
// CPU: one thread of its own runs the three steps, all-reduces one after another. CUDA: a stream of its own.
class TwoLevelCommunicator : public Communicator {
 public:
  struct Parts {
    std::unique_ptr<Communicator> all, within, across;
  };
  TwoLevelCommunicator(Parts parts, std::unique_ptr<CollectiveChain> chain);
  ~TwoLevelCommunicator() override;

  int rank() const override;
  int size() const override;
  const char* name() const override;

  std::unique_ptr<Work> all_reduce_async(at::Tensor tensor, ReduceOp op) override;
  void broadcast(at::Tensor tensor, int root) override;
  std::unique_ptr<Work> all_gather_async(const at::Tensor& input, at::Tensor output) override;
  std::unique_ptr<Work> reduce_scatter_async(const at::Tensor& input, at::Tensor output, ReduceOp op) override;
  void all_to_all(const at::Tensor& input, at::Tensor output) override;
  void barrier() override;
  void abort() noexcept override;

  int64_t bytes(const std::string& collective) const override;
  double wire_bytes(const std::string& collective) const override;
  int64_t bytes_across_nodes() const override;

 private:
  Parts parts_;
  std::unique_ptr<CollectiveChain> chain_;
  int64_t payload_ = 0;  // of all_reduce
};

// The communicator of a training's gradients, over all ranks: in two levels where dist.two_level asks for it, else
// make_communicator()'s. "auto": MPI on several nodes of several ranks each (NCCL's own algorithms know the nodes).
// Collective. Throws ConfigError for settings that do not go together.
std::unique_ptr<Communicator> make_gradient_communicator(const DistConfig& config, ControlPlane& control,
                                                         c10::Device device);

}  // namespace snell::dist
