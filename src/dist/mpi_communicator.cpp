#include "snell/dist/mpi_communicator.h"

#include <algorithm>

#include "mpi_comm.h"
#include "mpi_progress.h"
#include "mpi_types.h"
#include "snell/core/error.h"
#include "snell/core/text.h"
#include "traffic.h"

namespace snell::dist {

using Requests = MpiProgress::Requests;

struct MpiCommunicator::State {
  State(MpiComm comm_in, int64_t max_count_in)
      : comm(std::move(comm_in)), rank(comm.rank()), size(comm.size()), max_count(max_count_in) {
    core::check(max_count >= 1 && max_count <= INT32_MAX, core::str("max_count ", max_count));
  }

  // Calls fn(offset, count) for parts of at most max_count elements.
  template <class F>
  void in_parts(int64_t numel, F&& fn) const {
    for (int64_t offset = 0; offset < numel; offset += max_count) {
      fn(offset, static_cast<int>(std::min(max_count, numel - offset)));
    }
  }

  // Shared, because the derived type must live as long as the operation.
  std::shared_ptr<const MpiBlock> block(const at::Tensor& tensor, int64_t numel) const {
    return std::make_shared<const MpiBlock>(numel, mpi_type(tensor.scalar_type()), max_count);
  }

  std::unique_ptr<Work> start(MpiProgress::Start job);
  void run(MpiProgress::Start job) { progress.wait(*progress.submit(std::move(job))); }

  MpiComm comm;
  int rank;
  int size;
  int64_t max_count;
  HalfOps ops;
  Traffic traffic;
  MpiProgress progress;  // last: its thread ends before what it uses
};

namespace {

const c10::Device kCpu(c10::DeviceType::CPU);

struct MpiWork : Work {
  MpiWork(MpiProgress& progress_in, std::shared_ptr<MpiProgress::Job> job_in)
      : progress(progress_in), job(std::move(job_in)) {}
  void wait() override { progress.wait(*job); }
  MpiProgress& progress;
  std::shared_ptr<MpiProgress::Job> job;
};

// Address of element `offset`.
void* at_element(const at::Tensor& tensor, int64_t offset) {
  return static_cast<char*>(tensor.data_ptr()) + offset * static_cast<int64_t>(tensor.element_size());
}

}  // namespace

std::unique_ptr<Work> MpiCommunicator::State::start(MpiProgress::Start job) {
  return std::make_unique<MpiWork>(progress, progress.submit(std::move(job)));
}

MpiCommunicator::MpiCommunicator(const std::string& purpose, int64_t max_count)
    : state_(std::make_unique<State>(MpiComm::duplicate(MPI_COMM_WORLD, "snell." + purpose), max_count)) {}

MpiCommunicator::MpiCommunicator(const std::string& purpose, const RankGroup& group, int64_t max_count)
    : state_(
          std::make_unique<State>(MpiComm::split(MPI_COMM_WORLD, group.ranks.front(), "snell." + purpose), max_count)) {
  core::check(state_->rank == group.rank && state_->size == group.size(),
              core::str("rank ", group.rank, " of ", group.size(), " became ", state_->rank, " of ", state_->size));
}

MpiCommunicator::~MpiCommunicator() {
  if (!state_->progress.stop()) state_->comm.abandon();
}

void MpiCommunicator::abort() noexcept {
  state_->progress.give_up();
}

int MpiCommunicator::rank() const {
  return state_->rank;
}
int MpiCommunicator::size() const {
  return state_->size;
}
int64_t MpiCommunicator::bytes(const std::string& collective) const {
  return state_->traffic.bytes(collective);
}

std::unique_ptr<Work> MpiCommunicator::all_reduce_async(at::Tensor tensor, ReduceOp op) {
  check_tensor(Collective::kAllReduce, tensor, kCpu);
  state_->traffic.add(Collective::kAllReduce, tensor);
  return state_->start([s = state_.get(), tensor, op](Requests& requests) {
    s->in_parts(tensor.numel(), [&](int64_t offset, int count) {
      check_mpi(MPI_Iallreduce(MPI_IN_PLACE, at_element(tensor, offset), count, mpi_type(tensor.scalar_type()),
                               s->ops.get(tensor.scalar_type(), op), s->comm.get(), &requests.emplace_back()),
                "MPI_Iallreduce");
    });
  });
}

void MpiCommunicator::broadcast(at::Tensor tensor, int root) {
  check_tensor(Collective::kBroadcast, tensor, kCpu);
  check_root(Collective::kBroadcast, root, state_->size);
  state_->traffic.add(Collective::kBroadcast, tensor);
  state_->run([s = state_.get(), tensor, root, block = state_->block(tensor, tensor.numel())](Requests& requests) {
    check_mpi(
        MPI_Ibcast(tensor.data_ptr(), block->count(), block->type(), root, s->comm.get(), &requests.emplace_back()),
        "MPI_Ibcast");
  });
}

std::unique_ptr<Work> MpiCommunicator::all_gather_async(const at::Tensor& input, at::Tensor output) {
  check_parts(Collective::kAllGather, input, output, state_->size, kCpu);
  state_->traffic.add(Collective::kAllGather, input);
  const auto part = state_->block(input, input.numel());
  return state_->start([s = state_.get(), input, output, block = part](Requests& requests) {
    check_mpi(MPI_Iallgather(input.data_ptr(), block->count(), block->type(), output.data_ptr(), block->count(),
                             block->type(), s->comm.get(), &requests.emplace_back()),
              "MPI_Iallgather");
  });
}

// One reduction a receiving rank: MPI_Ireduce_scatter_block's int count covers all parts together, this one each.
std::unique_ptr<Work> MpiCommunicator::reduce_scatter_async(const at::Tensor& input, at::Tensor output, ReduceOp op) {
  check_parts(Collective::kReduceScatter, output, input, state_->size, kCpu);
  state_->traffic.add(Collective::kReduceScatter, input);
  return state_->start([s = state_.get(), input, output, op](Requests& requests) {
    for (int root = 0; root < s->size; ++root) {
      s->in_parts(output.numel(), [&](int64_t offset, int count) {
        check_mpi(MPI_Ireduce(at_element(input, root * output.numel() + offset), at_element(output, offset), count,
                              mpi_type(input.scalar_type()), s->ops.get(input.scalar_type(), op), root, s->comm.get(),
                              &requests.emplace_back()),
                  "MPI_Ireduce");
      });
    }
  });
}

void MpiCommunicator::all_to_all(const at::Tensor& input, at::Tensor output) {
  check_exchange(Collective::kAllToAll, input, output, state_->size, kCpu);
  state_->traffic.add(Collective::kAllToAll, input);
  const auto part = state_->block(input, input.numel() / state_->size);
  state_->run([s = state_.get(), input, output, block = part](Requests& requests) {
    check_mpi(MPI_Ialltoall(input.data_ptr(), block->count(), block->type(), output.data_ptr(), block->count(),
                            block->type(), s->comm.get(), &requests.emplace_back()),
              "MPI_Ialltoall");
  });
}

void MpiCommunicator::barrier() {
  state_->run([s = state_.get()](Requests& requests) {
    check_mpi(MPI_Ibarrier(s->comm.get(), &requests.emplace_back()), "MPI_Ibarrier");
  });
}

}  // namespace snell::dist
