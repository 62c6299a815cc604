// The table of the linked NCCL.
#include <nccl.h>

#include <cstring>

#include "nccl_types.h"
#include "snell/dist/nccl_api.h"

namespace snell::dist {

namespace {

static_assert(sizeof(NcclId) == sizeof(ncclUniqueId) && NCCL_UNIQUE_ID_BYTES == 128);
static_assert(ncclSuccess == kNcclSuccess && ncclInProgress == kNcclInProgress);
// nccl_types.h's numbers.
static_assert(ncclUint8 == 1 && ncclInt32 == 2 && ncclInt64 == 4 && ncclFloat16 == 6 && ncclFloat32 == 7 &&
              ncclFloat64 == 8 && ncclBfloat16 == 9);
static_assert(ncclSum == 0 && ncclMax == 2 && ncclMin == 3);

ncclComm_t as_comm(void* comm) {
  return static_cast<ncclComm_t>(comm);
}
cudaStream_t as_stream(void* stream) {
  return static_cast<cudaStream_t>(stream);
}
ncclDataType_t as_type(int type) {
  return static_cast<ncclDataType_t>(type);
}
ncclRedOp_t as_op(int op) {
  return static_cast<ncclRedOp_t>(op);
}

int get_unique_id(NcclId* id) {
  ncclUniqueId native;
  const int result = ncclGetUniqueId(&native);
  std::memcpy(id->bytes.data(), &native, sizeof native);
  return result;
}

int comm_init_rank(void** comm, int size, const NcclId& id, int rank) {
  ncclUniqueId native;
  std::memcpy(&native, id.bytes.data(), sizeof native);
  ncclComm_t made = nullptr;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  const int result = ncclCommInitRankConfig(&made, size, native, rank, &config);
  *comm = made;
  return result;
}

int comm_get_async_error(void* comm, int* result) {
  ncclResult_t native = ncclSuccess;
  const int status = ncclCommGetAsyncError(as_comm(comm), &native);
  *result = native;
  return status;
}

int all_reduce(const void* in, void* out, size_t count, int type, int op, void* comm, void* stream) {
  return ncclAllReduce(in, out, count, as_type(type), as_op(op), as_comm(comm), as_stream(stream));
}

int broadcast(const void* in, void* out, size_t count, int type, int root, void* comm, void* stream) {
  return ncclBroadcast(in, out, count, as_type(type), root, as_comm(comm), as_stream(stream));
}

int all_gather(const void* in, void* out, size_t count, int type, void* comm, void* stream) {
  return ncclAllGather(in, out, count, as_type(type), as_comm(comm), as_stream(stream));
}

int reduce_scatter(const void* in, void* out, size_t count, int type, int op, void* comm, void* stream) {
  return ncclReduceScatter(in, out, count, as_type(type), as_op(op), as_comm(comm), as_stream(stream));
}

int send(const void* in, size_t count, int type, int peer, void* comm, void* stream) {
  return ncclSend(in, count, as_type(type), peer, as_comm(comm), as_stream(stream));
}

int receive(void* out, size_t count, int type, int peer, void* comm, void* stream) {
  return ncclRecv(out, count, as_type(type), peer, as_comm(comm), as_stream(stream));
}

}  // namespace

const NcclApi& real_nccl() {
  static const NcclApi kApi = {
      .get_unique_id = get_unique_id,
      .comm_init_rank = comm_init_rank,
      .comm_destroy = [](void* comm) -> int { return ncclCommDestroy(as_comm(comm)); },
      .comm_abort = [](void* comm) -> int { return ncclCommAbort(as_comm(comm)); },
      .comm_get_async_error = comm_get_async_error,
      .get_error_string = [](int result) { return ncclGetErrorString(static_cast<ncclResult_t>(result)); },
      .get_last_error = [](void* comm) { return ncclGetLastError(as_comm(comm)); },
      .all_reduce = all_reduce,
      .broadcast = broadcast,
      .all_gather = all_gather,
      .reduce_scatter = reduce_scatter,
      .send = send,
      .receive = receive,
      .group_start = []() -> int { return ncclGroupStart(); },
      .group_end = []() -> int { return ncclGroupEnd(); },
  };
  return kApi;
}

}  // namespace snell::dist
