#include "snell/dist/nccl_communicator.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <optional>

#include "nccl_comm.h"
#include "nccl_types.h"
#include "snell/core/phase.h"
#include "snell/core/text.h"
#include "snell/dist/abort_hooks.h"
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
  State(const NcclApi& api_in, std::unique_ptr<CommStream> stream_in, const RankGroup& group_in, int job_rank,
        c10::Device device_in)
      : api(api_in),
        stream(std::move(stream_in)),
        group(group_in),
        device(device_in),
        comm(api_in, core::str("rank ", job_rank, " (", device_in.str(), ")")) {}

  // Enqueues launch(comm, stream) behind the caller's current stream; returns the mark of its end.
  template <class F>
  std::shared_ptr<void> enqueue(const char* call, F&& launch) {
    comm.check_async();
    stream->wait_for_current();
    comm.call(call, [&](void* handle) { return launch(handle, stream->handle()); });
    return stream->mark();
  }

  template <class F>
  void run(const char* call, F&& launch) {
    const auto mark = enqueue(call, std::forward<F>(launch));
    stream->make_current_wait(mark.get());
  }

  const NcclApi& api;
  std::unique_ptr<CommStream> stream;
  RankGroup group;
  c10::Device device;
  NcclComm comm;
  Traffic traffic;
  std::optional<AbortHook> abort_hook;
};

namespace {

// Holds the tensors until the caller's stream waits for the result, so that their memory cannot be given to others
// while the communication stream still reads and writes it.
class NcclWork : public Work {
 public:
  NcclWork(CommStream& stream, std::shared_ptr<void> mark, std::vector<at::Tensor> tensors)
      : stream_(stream), mark_(std::move(mark)), tensors_(std::move(tensors)) {}
  ~NcclWork() override {
    if (std::uncaught_exceptions() == 0) wait();
  }
  void wait() override {
    if (mark_ == nullptr) return;
    stream_.make_current_wait(mark_.get());
    mark_.reset();
    tensors_.clear();
  }

 private:
  CommStream& stream_;
  std::shared_ptr<void> mark_;
  std::vector<at::Tensor> tensors_;
};

}  // namespace

namespace {

constexpr const char* kTooLate = "too late";

std::string name_ranks(const std::vector<int>& ranks) {
  std::string out = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size(); ++i) out += core::str(i == 0 ? "" : ", ", ranks[i]);
  return out;
}

// A rank that does not come cannot agree on anything: the error of the others stops the job.
void meet(ControlPlane& control, double limit_s, const char* to_do_what) {
  const std::vector<int> missing = control.roll_call(limit_s);
  if (missing.empty()) return;
  throw core::Error(core::str(name_ranks(missing), " of ", control.size(), " did not come to ", to_do_what, " within ",
                              limit_s, " s; see dist.init_timeout_s"));
}

// `outcome` of this rank: "" it joined, kTooLate, or its error. Ranks with an error are named before those that only
// waited for them.
void agree_on_joining(ControlPlane& control, const std::string& outcome, double limit_s) {
  const std::vector<std::string> outcomes = control.all_gather_strings(outcome);
  const std::vector<std::string> hosts = control.all_gather_strings(ControlPlane::hostname());
  std::vector<int> waited;
  std::vector<std::string> failed;
  for (size_t rank = 0; rank < outcomes.size(); ++rank) {
    if (outcomes[rank] == kTooLate) {
      waited.push_back(static_cast<int>(rank));
    } else if (!outcomes[rank].empty()) {
      failed.push_back(
          core::str("rank ", rank, " on ", hosts[rank], " did not join NCCL's communicator: ", outcomes[rank]));
    }
  }
  if (waited.empty() && failed.empty()) return;
  std::string text = core::join(failed, "; ");
  const std::string limit = core::str(limit_s, " s (dist.init_timeout_s)");
  if (failed.empty()) {
    text = core::str(name_ranks(waited), " waited ", limit,
                     " for NCCL to connect all ranks, and none reported an error: the nodes do not reach each other by "
                     "the interface that NCCL chose. NCCL_SOCKET_IFNAME names another; NCCL_DEBUG=INFO shows more");
  } else if (!waited.empty()) {
    text += core::str("; ", name_ranks(waited), " waited ", limit);
  }
  throw AgreedError(core::ExitCode::kInternal, text);
}

}  // namespace

NcclCommunicator::NcclCommunicator(const NcclApi& api, std::unique_ptr<CommStream> stream, ControlPlane& control,
                                   c10::Device device, const NcclOptions& options)
    : state_(std::make_unique<State>(api, std::move(stream), options.group ? *options.group : whole_world(control),
                                     control.rank(), device)) {
  meet(control, options.init_timeout_s, "start NCCL");
  const RankGroup& group = state_->group;
  NcclId id;
  control.all_or_none([&] {
    if (group.rank == 0) state_->comm.check(api.get_unique_id(&id), "ncclGetUniqueId");
  });
  const auto ids = control.all_gather_strings(std::string(id.bytes.begin(), id.bytes.end()));
  const std::string& bytes = ids.at(static_cast<size_t>(group.ranks.front()));
  core::check(bytes.size() == id.bytes.size(), core::str("an NCCL id of ", bytes.size(), " bytes"));
  std::copy(bytes.begin(), bytes.end(), id.bytes.begin());

  std::string outcome;
  try {
    if (!state_->comm.join(group.size(), id, group.rank, options.init_timeout_s)) outcome = kTooLate;
  } catch (const core::Error& error) {
    outcome = error.what();
  }
  // Ranks that joined at once wait here for those that give up at the limit.
  meet(control, options.init_timeout_s + std::min(10.0, options.init_timeout_s), "join NCCL's communicator");
  agree_on_joining(control, outcome, options.init_timeout_s);
  state_->abort_hook.emplace([this] { abort(); });
}

NcclCommunicator::~NcclCommunicator() {
  state_->abort_hook.reset();
}

void NcclCommunicator::abort() noexcept {
  state_->comm.abort();
}

int NcclCommunicator::rank() const {
  return state_->group.rank;
}
int NcclCommunicator::size() const {
  return state_->group.size();
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
  auto mark = state_->enqueue("ncclAllReduce", [&](void* comm, void* stream) {
    return state_->api.all_reduce(tensor.data_ptr(), tensor.data_ptr(), count_of(tensor),
                                  nccl_type(tensor.scalar_type()), nccl_op(op), comm, stream);
  });
  return std::make_unique<NcclWork>(*state_->stream, std::move(mark), std::vector{std::move(tensor)});
}

void NcclCommunicator::broadcast(at::Tensor tensor, int root) {
  check_tensor(Collective::kBroadcast, tensor, state_->device);
  check_root(Collective::kBroadcast, root, state_->group.size());
  state_->traffic.add(Collective::kBroadcast, tensor);
  state_->run("ncclBroadcast", [&](void* comm, void* stream) {
    return state_->api.broadcast(tensor.data_ptr(), tensor.data_ptr(), count_of(tensor),
                                 nccl_type(tensor.scalar_type()), root, comm, stream);
  });
}

std::unique_ptr<Work> NcclCommunicator::all_gather_async(const at::Tensor& input, at::Tensor output) {
  check_parts(Collective::kAllGather, input, output, state_->group.size(), state_->device);
  state_->traffic.add(Collective::kAllGather, input);
  auto mark = state_->enqueue("ncclAllGather", [&](void* comm, void* stream) {
    return state_->api.all_gather(input.data_ptr(), output.data_ptr(), count_of(input), nccl_type(input.scalar_type()),
                                  comm, stream);
  });
  return std::make_unique<NcclWork>(*state_->stream, std::move(mark), std::vector{input, std::move(output)});
}

std::unique_ptr<Work> NcclCommunicator::reduce_scatter_async(const at::Tensor& input, at::Tensor output, ReduceOp op) {
  check_parts(Collective::kReduceScatter, output, input, state_->group.size(), state_->device);
  state_->traffic.add(Collective::kReduceScatter, input);
  auto mark = state_->enqueue("ncclReduceScatter", [&](void* comm, void* stream) {
    return state_->api.reduce_scatter(input.data_ptr(), output.data_ptr(), count_of(output),
                                      nccl_type(input.scalar_type()), nccl_op(op), comm, stream);
  });
  return std::make_unique<NcclWork>(*state_->stream, std::move(mark), std::vector{input, std::move(output)});
}

// NCCL has no all-to-all of its own: a group of sends and receives.
void NcclCommunicator::all_to_all(const at::Tensor& input, at::Tensor output) {
  check_exchange(Collective::kAllToAll, input, output, state_->group.size(), state_->device);
  state_->traffic.add(Collective::kAllToAll, input);
  const size_t count = count_of(input) / static_cast<size_t>(state_->group.size());
  const size_t bytes = count * input.element_size();
  const int type = nccl_type(input.scalar_type());
  state_->run("ncclGroupEnd", [&](void* comm, void* stream) {
    const NcclApi& api = state_->api;
    int result = api.group_start();
    const auto add = [&](int next) {
      if (result == kNcclSuccess || result == kNcclInProgress) result = next;
    };
    for (int peer = 0; peer < state_->group.size(); ++peer) {
      const size_t offset = bytes * static_cast<size_t>(peer);
      add(api.send(static_cast<const char*>(input.data_ptr()) + offset, count, type, peer, comm, stream));
      add(api.receive(static_cast<char*>(output.data_ptr()) + offset, count, type, peer, comm, stream));
    }
    add(api.group_end());
    return result;
  });
}

void NcclCommunicator::barrier() {
  const at::Tensor token = at::zeros({1}, at::device(state_->device).dtype(at::kByte));
  const auto mark = state_->enqueue("ncclAllReduce", [&](void* comm, void* stream) {
    return state_->api.all_reduce(token.data_ptr(), token.data_ptr(), 1, nccl_type(at::kByte), nccl_op(ReduceOp::kSum),
                                  comm, stream);
  });
  const core::Phase phase(core::PhaseKind::kCollective);
  while (!state_->stream->reached(mark.get())) {
    state_->comm.check_async();
    ::usleep(50);
  }
  state_->comm.check_async();  // an abort or an error ends it too
}

}  // namespace snell::dist
