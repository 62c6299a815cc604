// Collectives of CUDA tensors through NCCL, one GPU a rank. The unique id of rank 0 goes to the others over the control
// plane.
//
// Streams: collectives run on a high-priority stream of their own. Each starts after what the caller's current stream
// holds when it is called; Work::wait() and every blocking collective make the current stream wait for the result, and
// the host goes on. Only barrier() makes the host wait. NCCL's asynchronous errors are looked at on every call.
// Threads: collectives may be called from any thread, one at a time.
#pragma once

#include <c10/core/Device.h>

#include <memory>

#include "snell/dist/communicator.h"
#include "snell/dist/control_plane.h"
#include "snell/dist/nccl_api.h"

namespace snell::dist {

class NcclCommunicator : public Communicator {
 public:
  // Collective; AgreedError when a rank cannot join. `api` must outlive it.
  NcclCommunicator(const NcclApi& api, std::unique_ptr<CommStream> stream, ControlPlane& control, c10::Device device);
  // Destroys the NCCL communicator; aborts it while an exception passes, because the others may never come.
  ~NcclCommunicator() override;

  int rank() const override;
  int size() const override;
  const char* name() const override { return "nccl"; }

  std::unique_ptr<Work> all_reduce_async(at::Tensor tensor, ReduceOp op) override;
  void broadcast(at::Tensor tensor, int root) override;
  void all_gather(const at::Tensor& input, at::Tensor output) override;
  void reduce_scatter(const at::Tensor& input, at::Tensor output, ReduceOp op) override;
  void all_to_all(const at::Tensor& input, at::Tensor output) override;
  void barrier() override;
  int64_t bytes(const std::string& collective) const override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace snell::dist
