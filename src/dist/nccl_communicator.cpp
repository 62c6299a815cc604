#include "snell/dist/nccl_communicator.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <unistd.h>

#include <exception>

#include "nccl_types.h"
#include "snell/core/text.h"
#include "traffic.h"

namespace snell::dist {

int nccl_type(c10::ScalarType type) {
  switch (type) {
    case at::kByte:
      return 1;
    case at::kInt:
      return 2;
    case at::kLong:
      return 4;
    case at::kHalf:
      return 6;
    case at::kFloat:
      return 7;
    case at::kDouble:
      return 8;
    case at::kBFloat16:
      return 9;
    default:
      throw core::Error(core::str("NCCL moves no tensors of type ", type));
  }
}

int nccl_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return 0;
    case ReduceOp::kMax:
      return 2;
    case ReduceOp::kMin:
      return 3;
  }
  throw core::Error(core::str("reduction ", static_cast<int>(op)));
}

struct NcclCommunicator::State {
  State(const NcclApi& api_in, std::unique_ptr<CommStream> stream_in, ControlPlane& control, c10::Device device_in)
      : api(api_in), stream(std::move(stream_in)), rank(control.rank()), size(control.size()), device(device_in) {}

  // The one place where NCCL's return codes become errors.
  void check(int result, const char* call) const {
    if (result == kNcclSuccess) [[likely]]
      return;
    const char* detail = comm == nullptr ? nullptr : api.get_last_error(comm);
    throw core::Error(core::str(call, " failed on rank ", rank, " (", device.str(), "): ", api.get_error_string(result),
                                detail == nullptr || *detail == '\0' ? "" : core::str("; ", detail),
                                ". NCCL_DEBUG=INFO in the environment shows more"));
  }

  void check_async() const {
    int result = kNcclSuccess;
    check(api.comm_get_async_error(comm, &result), "ncclCommGetAsyncError");
    if (result != kNcclInProgress) check(result, "an earlier NCCL operation");
  }

  // Enqueues launch(stream) behind the caller's current stream; returns the mark of its end.
  template <class F>
  std::shared_ptr<void> enqueue(const char* call, F&& launch) {
    check_async();
    stream->wait_for_current();
    check(launch(stream->handle()), call);
    return stream->mark();
  }

  template <class F>
  void run(const char* call, F&& launch) {
    const auto mark = enqueue(call, std::forward<F>(launch));
    stream->make_current_wait(mark.get());
  }

  const NcclApi& api;
  std::unique_ptr<CommStream> stream;
  int rank;
  int size;
  c10::Device device;
  void* comm = nullptr;
  Traffic traffic;
};

namespace {

// Holds the tensor until the caller's stream waits for the result, so that its memory cannot be given to another tensor
// while the communication stream still writes to it.
class NcclWork : public Work {
 public:
  NcclWork(CommStream& stream, std::shared_ptr<void> mark, at::Tensor tensor)
      : stream_(stream), mark_(std::move(mark)), tensor_(std::move(tensor)) {}
  ~NcclWork() override {
    if (std::uncaught_exceptions() == 0) wait();
  }
  void wait() override {
    if (mark_ == nullptr) return;
    stream_.make_current_wait(mark_.get());
    mark_.reset();
    tensor_.reset();
  }

 private:
  CommStream& stream_;
  std::shared_ptr<void> mark_;
  at::Tensor tensor_;
};

}  // namespace

NcclCommunicator::NcclCommunicator(const NcclApi& api, std::unique_ptr<CommStream> stream, ControlPlane& control,
                                   c10::Device device)
    : state_(std::make_unique<State>(api, std::move(stream), control, device)) {
  const std::string id_bytes = control.root_decides([&] {
    NcclId id;
    state_->check(api.get_unique_id(&id), "ncclGetUniqueId");
    return std::string(id.bytes.begin(), id.bytes.end());
  });
  control.all_or_none([&] {
    NcclId id;
    core::check(id_bytes.size() == id.bytes.size(), core::str("an NCCL id of ", id_bytes.size(), " bytes"));
    std::copy(id_bytes.begin(), id_bytes.end(), id.bytes.begin());
    void* comm = nullptr;
    state_->check(api.comm_init_rank(&comm, state_->size, id, state_->rank), "ncclCommInitRank");
    state_->comm = comm;
  });
}

NcclCommunicator::~NcclCommunicator() {
  if (state_->comm == nullptr) return;
  if (std::uncaught_exceptions() > 0) {
    state_->api.comm_abort(state_->comm);
  } else {
    state_->api.comm_destroy(state_->comm);
  }
}

int NcclCommunicator::rank() const {
  return state_->rank;
}
int NcclCommunicator::size() const {
  return state_->size;
}
int64_t NcclCommunicator::bytes(const std::string& collective) const {
  return state_->traffic.bytes(collective);
}

static size_t count_of(const at::Tensor& tensor) {
  return static_cast<size_t>(tensor.numel());
}

std::unique_ptr<Work> NcclCommunicator::all_reduce_async(at::Tensor tensor, ReduceOp op) {
  check_tensor(Collective::kAllReduce, tensor, state_->device);
  state_->traffic.add(Collective::kAllReduce, tensor);
  auto mark = state_->enqueue("ncclAllReduce", [&](void* stream) {
    return state_->api.all_reduce(tensor.data_ptr(), tensor.data_ptr(), count_of(tensor),
                                  nccl_type(tensor.scalar_type()), nccl_op(op), state_->comm, stream);
  });
  return std::make_unique<NcclWork>(*state_->stream, std::move(mark), std::move(tensor));
}

void NcclCommunicator::broadcast(at::Tensor tensor, int root) {
  check_tensor(Collective::kBroadcast, tensor, state_->device);
  check_root(Collective::kBroadcast, root, state_->size);
  state_->traffic.add(Collective::kBroadcast, tensor);
  state_->run("ncclBroadcast", [&](void* stream) {
    return state_->api.broadcast(tensor.data_ptr(), tensor.data_ptr(), count_of(tensor),
                                 nccl_type(tensor.scalar_type()), root, state_->comm, stream);
  });
}

void NcclCommunicator::all_gather(const at::Tensor& input, at::Tensor output) {
  check_parts(Collective::kAllGather, input, output, state_->size, state_->device);
  state_->traffic.add(Collective::kAllGather, input);
  state_->run("ncclAllGather", [&](void* stream) {
    return state_->api.all_gather(input.data_ptr(), output.data_ptr(), count_of(input), nccl_type(input.scalar_type()),
                                  state_->comm, stream);
  });
}

void NcclCommunicator::reduce_scatter(const at::Tensor& input, at::Tensor output, ReduceOp op) {
  check_parts(Collective::kReduceScatter, output, input, state_->size, state_->device);
  state_->traffic.add(Collective::kReduceScatter, input);
  state_->run("ncclReduceScatter", [&](void* stream) {
    return state_->api.reduce_scatter(input.data_ptr(), output.data_ptr(), count_of(output),
                                      nccl_type(input.scalar_type()), nccl_op(op), state_->comm, stream);
  });
}

// NCCL has no all-to-all of its own: a group of sends and receives.
void NcclCommunicator::all_to_all(const at::Tensor& input, at::Tensor output) {
  check_exchange(Collective::kAllToAll, input, output, state_->size, state_->device);
  state_->traffic.add(Collective::kAllToAll, input);
  const size_t count = count_of(input) / static_cast<size_t>(state_->size);
  const size_t bytes = count * input.element_size();
  const int type = nccl_type(input.scalar_type());
  state_->run("ncclGroupEnd", [&](void* stream) {
    state_->check(state_->api.group_start(), "ncclGroupStart");
    for (int peer = 0; peer < state_->size; ++peer) {
      const size_t offset = bytes * static_cast<size_t>(peer);
      state_->check(state_->api.send(static_cast<const char*>(input.data_ptr()) + offset, count, type, peer,
                                     state_->comm, stream),
                    "ncclSend");
      state_->check(
          state_->api.receive(static_cast<char*>(output.data_ptr()) + offset, count, type, peer, state_->comm, stream),
          "ncclRecv");
    }
    return state_->api.group_end();
  });
}

void NcclCommunicator::barrier() {
  const at::Tensor token = at::zeros({1}, at::device(state_->device).dtype(at::kByte));
  const auto mark = state_->enqueue("ncclAllReduce", [&](void* stream) {
    return state_->api.all_reduce(token.data_ptr(), token.data_ptr(), 1, nccl_type(at::kByte), nccl_op(ReduceOp::kSum),
                                  state_->comm, stream);
  });
  while (!state_->stream->reached(mark.get())) {
    state_->check_async();
    ::usleep(50);
  }
}

}  // namespace snell::dist
