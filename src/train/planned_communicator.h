// The ranks of a job that is only planned: a communicator that moves nothing and writes down what is asked of it.
#pragma once

#include <functional>

#include "snell/dist/communicator.h"
#include "snell/plan/trace.h"

namespace snell::train {

class PlannedCommunicator : public dist::Communicator {
 public:
  // Rank 0 of `size`. Collectives go to `*trace()` where that is not null. `scratch`: whether a collective holds a
  // tensor's bytes more while it runs, as MPI's do.
  PlannedCommunicator(int64_t size, std::function<plan::Trace*()> trace, bool scratch);
  ~PlannedCommunicator() override;

  int rank() const override { return 0; }
  int size() const override { return static_cast<int>(size_); }
  const char* name() const override { return "planned"; }

  std::unique_ptr<dist::Work> all_reduce_async(at::Tensor tensor, dist::ReduceOp op) override;
  void broadcast(at::Tensor tensor, int root) override;
  std::unique_ptr<dist::Work> all_gather_async(const at::Tensor& input, at::Tensor output) override;
  std::unique_ptr<dist::Work> reduce_scatter_async(const at::Tensor& input, at::Tensor output,
                                                   dist::ReduceOp op) override;
  void all_to_all(const at::Tensor& input, at::Tensor output) override;
  void barrier() override {}
  int64_t bytes(const std::string&) const override { return 0; }

 private:
  std::unique_ptr<dist::Work> start(plan::Collective kind, const at::Tensor& handed_in);
  void run(plan::Collective kind, const at::Tensor& handed_in) { start(kind, handed_in)->wait(); }

  struct Scratch;
  const int64_t size_;
  const std::function<plan::Trace*()> trace_;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace snell::train
