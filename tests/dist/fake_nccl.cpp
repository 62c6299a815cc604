#include "fake_nccl.h"

#include <mpi.h>

#include <map>
#include <utility>

namespace snell::dist {

namespace {

// By the numbers of nccl.h, written down a second time on purpose.
MPI_Datatype type_of(int type) {
  static const std::map<int, MPI_Datatype> kTypes = {
      {1, MPI_UINT8_T}, {2, MPI_INT32_T}, {4, MPI_INT64_T}, {7, MPI_FLOAT}, {8, MPI_DOUBLE}};
  return kTypes.at(type);
}

MPI_Op op_of(int op) {
  static const std::map<int, MPI_Op> kOps = {{0, MPI_SUM}, {2, MPI_MAX}, {3, MPI_MIN}};
  return kOps.at(op);
}

MPI_Comm comm_of(void* comm) {
  return static_cast<MPI_Comm>(comm);
}

int result() {
  return std::exchange(fake_nccl_state().next_result, 0);
}

std::vector<MPI_Request> g_group;

struct FakeStream : CommStream {
  explicit FakeStream(std::vector<std::string>* calls_in) : calls(calls_in) {}
  void* handle() override { return this; }
  void wait_for_current() override { calls->push_back("wait_for_current"); }
  std::shared_ptr<void> mark() override {
    calls->push_back("mark");
    return std::make_shared<int>(0);
  }
  void make_current_wait(void*) override { calls->push_back("make_current_wait"); }
  bool reached(void* mark) override { return ++*static_cast<int*>(mark) > 2; }
  std::vector<std::string>* calls;
};

int get_unique_id(NcclId* id) {
  id->bytes.fill('\7');
  id->bytes[5] = '\0';
  return result();
}

int comm_init_rank(void** comm, int, const NcclId& id, int rank) {
  if (rank == fake_nccl_state().init_fails_on_rank) return 2;
  if (id.bytes[0] != '\7' || id.bytes[5] != '\0' || id.bytes[127] != '\7') return 4;
  *comm = static_cast<void*>(MPI_COMM_WORLD);
  ++fake_nccl_state().live_comms;
  return 0;
}

int all_reduce(const void*, void* out, size_t count, int type, int op, void* comm, void*) {
  MPI_Allreduce(MPI_IN_PLACE, out, static_cast<int>(count), type_of(type), op_of(op), comm_of(comm));
  return result();
}

int broadcast(const void*, void* out, size_t count, int type, int root, void* comm, void*) {
  MPI_Bcast(out, static_cast<int>(count), type_of(type), root, comm_of(comm));
  return result();
}

int all_gather(const void* in, void* out, size_t count, int type, void* comm, void*) {
  MPI_Allgather(in, static_cast<int>(count), type_of(type), out, static_cast<int>(count), type_of(type), comm_of(comm));
  return result();
}

int reduce_scatter(const void* in, void* out, size_t count, int type, int op, void* comm, void*) {
  MPI_Reduce_scatter_block(in, out, static_cast<int>(count), type_of(type), op_of(op), comm_of(comm));
  return result();
}

int send(const void* in, size_t count, int type, int peer, void* comm, void*) {
  MPI_Isend(in, static_cast<int>(count), type_of(type), peer, 0, comm_of(comm), &g_group.emplace_back());
  return result();
}

int receive(void* out, size_t count, int type, int peer, void* comm, void*) {
  MPI_Irecv(out, static_cast<int>(count), type_of(type), peer, 0, comm_of(comm), &g_group.emplace_back());
  return result();
}

int group_end() {
  MPI_Waitall(static_cast<int>(g_group.size()), g_group.data(), MPI_STATUSES_IGNORE);
  g_group.clear();
  return result();
}

}  // namespace

FakeNccl& fake_nccl_state() {
  static FakeNccl state;
  return state;
}

const NcclApi& fake_nccl() {
  static const NcclApi kApi = {
      .get_unique_id = get_unique_id,
      .comm_init_rank = comm_init_rank,
      .comm_destroy = [](void*) { return --fake_nccl_state().live_comms, 0; },
      .comm_abort = [](void*) { return ++fake_nccl_state().aborted_comms, --fake_nccl_state().live_comms, 0; },
      .comm_get_async_error = [](void*, int* error) { return *error = fake_nccl_state().async_error, 0; },
      .get_error_string = [](int code) { return code == 2 ? "unhandled system error" : "some error"; },
      .get_last_error = [](void*) { return "the cable is out"; },
      .all_reduce = all_reduce,
      .broadcast = broadcast,
      .all_gather = all_gather,
      .reduce_scatter = reduce_scatter,
      .send = send,
      .receive = receive,
      .group_start = [] { return 0; },
      .group_end = group_end,
  };
  return kApi;
}

std::unique_ptr<CommStream> fake_stream(std::vector<std::string>* calls) {
  return std::make_unique<FakeStream>(calls);
}

}  // namespace snell::dist
