#include "planned_communicator.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

namespace snell::train {
namespace {

class PlannedWork : public dist::Work {
 public:
  PlannedWork(int64_t id, const std::function<plan::Trace*()>& trace) : id_(id), trace_(trace) {}
  void wait() override {
    if (plan::Trace* trace = trace_(); trace != nullptr) trace->wait(id_);
  }

 private:
  const int64_t id_;
  const std::function<plan::Trace*()> trace_;
};

}  // namespace

// Of the last collective that was started: those before it have mostly ended by then.
struct PlannedCommunicator::Scratch {
  at::Tensor tensor;
};

PlannedCommunicator::PlannedCommunicator(int64_t size, std::function<plan::Trace*()> trace, bool scratch)
    : size_(size), trace_(std::move(trace)), scratch_(scratch ? std::make_unique<Scratch>() : nullptr) {}
PlannedCommunicator::~PlannedCommunicator() = default;

std::unique_ptr<dist::Work> PlannedCommunicator::start(plan::Collective kind, const at::Tensor& handed_in) {
  if (plan::Trace* trace = trace_(); trace != nullptr && size_ > 1) {
    const int64_t id = trace->next_id++;
    trace->start(id, kind, static_cast<double>(handed_in.nbytes()), size_);
    if (scratch_ && kind == plan::Collective::kAllReduce) {
      scratch_->tensor.reset();
      scratch_->tensor = at::empty(handed_in.sizes(), handed_in.options().requires_grad(false));
    }
    return std::make_unique<PlannedWork>(id, trace_);
  }
  return std::make_unique<PlannedWork>(0, [] { return nullptr; });
}

std::unique_ptr<dist::Work> PlannedCommunicator::all_reduce_async(at::Tensor tensor, dist::ReduceOp) {
  return start(plan::Collective::kAllReduce, tensor);
}
void PlannedCommunicator::broadcast(at::Tensor tensor, int) {
  run(plan::Collective::kBroadcast, tensor);
}
std::unique_ptr<dist::Work> PlannedCommunicator::all_gather_async(const at::Tensor& input, at::Tensor) {
  return start(plan::Collective::kAllGather, input);
}
std::unique_ptr<dist::Work> PlannedCommunicator::reduce_scatter_async(const at::Tensor& input, at::Tensor,
                                                                      dist::ReduceOp) {
  return start(plan::Collective::kReduceScatter, input);
}
void PlannedCommunicator::all_to_all(const at::Tensor& input, at::Tensor) {
  run(plan::Collective::kAllToAll, input);
}

}  // namespace snell::train
