// Collectives of CUDA tensors through NCCL, one GPU a rank, over all ranks or a group of them. The unique id of a
// group's first rank goes to the others over the control plane.
//
// Streams: collectives run on a high-priority stream of their own. Each starts after what the caller's current stream
// holds when it is called; Work::wait() and every blocking collective make the current stream wait for the result, and
// the host goes on. Only barrier() makes the host wait. NCCL's asynchronous errors are looked at on every call.
// The first error aborts NCCL's communicator, and every later call throws.
// Threads: collectives may be called from any thread, one at a time; abort() at any moment. It is registered as an
// abort hook (abort_hooks.h), so that a watchdog ends kernels that wait for a rank that never comes.
#pragma once

#include <c10/core/Device.h>

#include <memory>
#include <optional>

#include "snell/dist/communicator.h"
#include "snell/dist/control_plane.h"
#include "snell/dist/groups.h"
#include "snell/dist/nccl_api.h"

namespace snell::dist {

struct NcclOptions {
  std::optional<RankGroup> group;  // this rank's; all ranks otherwise
  double init_timeout_s = 600;     // how long the ranks wait for each other
};

class NcclCommunicator : public Communicator {
 public:
  // Collective over all ranks, also for groups. AgreedError when a rank cannot join, or when they do not find each
  // other in time; core::Error that names the ranks that never came here, on those that did. `api` must outlive it.
  NcclCommunicator(const NcclApi& api, std::unique_ptr<CommStream> stream, ControlPlane& control, c10::Device device,
                   const NcclOptions& options = {});
  // Destroys the NCCL communicator; aborts it while an exception passes, because the others may never come.
  ~NcclCommunicator() override;

  int rank() const override;
  int size() const override;
  const char* name() const override { return "nccl"; }

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
