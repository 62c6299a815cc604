// A world of one: collectives are copies. Tensors of any device.
#pragma once

#include <memory>

#include "snell/dist/communicator.h"

namespace snell::dist {

class Traffic;

class SelfCommunicator : public Communicator {
 public:
  SelfCommunicator();
  ~SelfCommunicator() override;

  int rank() const override { return 0; }
  int size() const override { return 1; }
  const char* name() const override { return "self"; }

  std::unique_ptr<Work> all_reduce_async(at::Tensor tensor, ReduceOp op) override;
  void broadcast(at::Tensor tensor, int root) override;
  std::unique_ptr<Work> all_gather_async(const at::Tensor& input, at::Tensor output) override;
  std::unique_ptr<Work> reduce_scatter_async(const at::Tensor& input, at::Tensor output, ReduceOp op) override;
  void all_to_all(const at::Tensor& input, at::Tensor output) override;
  void barrier() override {}
  int64_t bytes(const std::string& collective) const override;

 private:
  std::unique_ptr<Traffic> traffic_;
};

}  // namespace snell::dist
