#include "snell/dist/two_level.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "collective_chain.h"
#include "snell/core/log.h"
#include "snell/core/text.h"
#include "traffic.h"

namespace snell::dist {

namespace {

struct BothWorks : Work {
  BothWorks(std::unique_ptr<Work> first_in, std::unique_ptr<Work> second_in)
      : first(std::move(first_in)), second(std::move(second_in)) {}
  void wait() override {
    first->wait();
    second->wait();
  }
  std::unique_ptr<Work> first, second;
};

}  // namespace

TwoLevelCommunicator::TwoLevelCommunicator(Parts parts, std::unique_ptr<CollectiveChain> chain)
    : parts_(std::move(parts)), chain_(std::move(chain)) {
  core::check(
      parts_.within->size() * parts_.across->size() == parts_.all->size(),
      core::str(parts_.across->size(), " nodes of ", parts_.within->size(), " ranks are not ", parts_.all->size()));
}

TwoLevelCommunicator::~TwoLevelCommunicator() {
  if (!chain_->idle()) abort();  // a rank that does not come would hold up the chain's thread
  chain_.reset();
}

int TwoLevelCommunicator::rank() const {
  return parts_.all->rank();
}
int TwoLevelCommunicator::size() const {
  return parts_.all->size();
}
const char* TwoLevelCommunicator::name() const {
  return parts_.all->name();
}

std::unique_ptr<Work> TwoLevelCommunicator::all_reduce_async(at::Tensor tensor, ReduceOp op) {
  check_tensor(Collective::kAllReduce, tensor, tensor.defined() ? tensor.device() : c10::Device(c10::kCPU));
  payload_ += static_cast<int64_t>(tensor.nbytes());
  const int64_t ranks = parts_.within->size(), slice = tensor.numel() / ranks;
  const at::Tensor flat = tensor.detach().view(-1), shared = flat.narrow(0, 0, ranks * slice);
  const at::Tensor rest = flat.narrow(0, ranks * slice, flat.numel() - ranks * slice);
  if (slice == 0) return parts_.all->all_reduce_async(rest, op);
  auto work = chain_->start([this, shared, slice, op] {
    const at::Tensor mine = at::empty({slice}, shared.options());
    parts_.within->reduce_scatter(shared, mine, op);
    parts_.across->all_reduce(mine, op);
    parts_.within->all_gather(mine, shared);
  });
  if (rest.numel() == 0) return work;
  return std::make_unique<BothWorks>(parts_.all->all_reduce_async(rest, op), std::move(work));
}

void TwoLevelCommunicator::broadcast(at::Tensor tensor, int root) {
  parts_.all->broadcast(std::move(tensor), root);
}
std::unique_ptr<Work> TwoLevelCommunicator::all_gather_async(const at::Tensor& input, at::Tensor output) {
  return parts_.all->all_gather_async(input, std::move(output));
}
std::unique_ptr<Work> TwoLevelCommunicator::reduce_scatter_async(const at::Tensor& input, at::Tensor output,
                                                                 ReduceOp op) {
  return parts_.all->reduce_scatter_async(input, std::move(output), op);
}
void TwoLevelCommunicator::all_to_all(const at::Tensor& input, at::Tensor output) {
  parts_.all->all_to_all(input, std::move(output));
}
void TwoLevelCommunicator::barrier() {
  parts_.all->barrier();
}
void TwoLevelCommunicator::abort() noexcept {
  for (const auto* part : {&parts_.all, &parts_.within, &parts_.across}) (*part)->abort();
}

int64_t TwoLevelCommunicator::bytes(const std::string& collective) const {
  return collective == "all_reduce" ? payload_ : parts_.all->bytes(collective);
}

double TwoLevelCommunicator::wire_bytes(const std::string& collective) const {
  double sum = parts_.all->wire_bytes(collective);
  if (collective != "all_reduce") return sum;
  sum += parts_.within->wire_bytes("reduce_scatter") + parts_.within->wire_bytes("all_gather");
  return sum + parts_.across->wire_bytes("all_reduce");
}

int64_t TwoLevelCommunicator::bytes_across_nodes() const {
  return parts_.across->bytes("all_reduce") + parts_.all->bytes("all_reduce");
}

// Why gradients are not summed in two levels; "" when they are.
static std::string reason_for_one_level(const DistConfig& config, const NodeLayout& nodes, c10::Device device) {
  if (config.wire.two_level == "never") return "dist.two_level=never";
  if (config.reproducible) return "dist.reproducible=true sums in an order of its own";
  if (nodes.num_nodes == 1) return "all ranks are on one node";
  if (nodes.even && nodes.within.size() == 1) return "every node has one rank";
  if (config.wire.two_level == "always") return "";
  if (!nodes.even) return "the nodes have different numbers of ranks";
  return device.is_cuda() ? "NCCL knows the nodes itself" : "";
}

std::unique_ptr<Communicator> make_gradient_communicator(const DistConfig& config, ControlPlane& control,
                                                         c10::Device device) {
  if (config.reproducible && config.wire.reduce_dtype != "auto") {
    throw core::ConfigError(core::str("dist.reduce_dtype = ", config.wire.reduce_dtype,
                                      " has no meaning with dist.reproducible=true, which sums gradients in their own "
                                      "type; leave it at auto"));
  }
  const NodeLayout nodes = node_layout(control, config.wire.node_size);
  const std::string reason = reason_for_one_level(config, nodes, device);
  if (reason.empty() && !nodes.even) {
    throw core::ConfigError(core::str("dist.two_level=always needs as many ranks on every node, this one has ",
                                      nodes.within.size(),
                                      "; start as many everywhere, or set dist.node_size or dist.two_level=auto"));
  }
  if (!reason.empty()) {
    if (config.wire.two_level == "always") core::log_warning("dist.two_level=always has no effect: " + reason);
    return make_communicator(config, control, device);
  }
  TwoLevelCommunicator::Parts parts;
  parts.all = make_communicator(config, control, device);
  parts.within = make_communicator(config, control, device, "node", nodes.within);
  parts.across = make_communicator(config, control, device, "across", nodes.across);
  return std::make_unique<TwoLevelCommunicator>(std::move(parts),
                                                device.is_cuda() ? make_stream_chain(device) : make_thread_chain());
}

}  // namespace snell::dist
