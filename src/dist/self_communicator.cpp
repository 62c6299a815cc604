#include "snell/dist/self_communicator.h"

#include <ATen/core/Tensor.h>

#include "traffic.h"

namespace snell::dist {

namespace {

struct NoWork : Work {
  void wait() override {}
};

// Through flat views: the two sides need not have the same shape.
void copy_flat(const at::Tensor& input, at::Tensor output) {
  output.detach().view(-1).copy_(input.detach().view(-1));
}

}  // namespace

SelfCommunicator::SelfCommunicator() : traffic_(std::make_unique<Traffic>()) {}
SelfCommunicator::~SelfCommunicator() = default;

std::unique_ptr<Work> SelfCommunicator::all_reduce_async(at::Tensor tensor, ReduceOp) {
  check_tensor(Collective::kAllReduce, tensor, tensor.device());
  traffic_->add(Collective::kAllReduce, tensor);
  return std::make_unique<NoWork>();
}

void SelfCommunicator::broadcast(at::Tensor tensor, int root) {
  check_tensor(Collective::kBroadcast, tensor, tensor.device());
  check_root(Collective::kBroadcast, root, 1);
  traffic_->add(Collective::kBroadcast, tensor);
}

std::unique_ptr<Work> SelfCommunicator::all_gather_async(const at::Tensor& input, at::Tensor output) {
  check_parts(Collective::kAllGather, input, output, 1, input.device());
  traffic_->add(Collective::kAllGather, input);
  copy_flat(input, output);
  return std::make_unique<NoWork>();
}

std::unique_ptr<Work> SelfCommunicator::reduce_scatter_async(const at::Tensor& input, at::Tensor output, ReduceOp) {
  check_parts(Collective::kReduceScatter, output, input, 1, input.device());
  traffic_->add(Collective::kReduceScatter, input);
  copy_flat(input, output);
  return std::make_unique<NoWork>();
}

void SelfCommunicator::all_to_all(const at::Tensor& input, at::Tensor output) {
  check_exchange(Collective::kAllToAll, input, output, 1, input.device());
  traffic_->add(Collective::kAllToAll, input);
  copy_flat(input, output);
}

int64_t SelfCommunicator::bytes(const std::string& collective) const {
  return traffic_->bytes(collective);
}

}  // namespace snell::dist
