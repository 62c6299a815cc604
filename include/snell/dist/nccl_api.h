// NCCL's entry points as a table of functions, and the stream that they run on as an interface. The communicator above
// them includes no CUDA header and is tested with another table on machines without a GPU.
#pragma once

#include <array>
#include <cstddef>
#include <memory>

namespace snell::dist {

struct NcclId {
  std::array<char, 128> bytes{};  // ncclUniqueId
};

// Results, types and operations are NCCL's numbers (ncclResult_t, ncclDataType_t, ncclRedOp_t); a communicator is an
// ncclComm_t, a stream a cudaStream_t. Communicators are made without blocking (ncclConfig_t::blocking = 0): every call
// may answer kNcclInProgress, and comm_get_async_error tells when it is through.
struct NcclApi {
  int (*get_unique_id)(NcclId* id);
  int (*comm_init_rank)(void** comm, int size, const NcclId& id, int rank);
  int (*comm_destroy)(void* comm);
  int (*comm_abort)(void* comm);
  int (*comm_get_async_error)(void* comm, int* result);
  const char* (*get_error_string)(int result);
  const char* (*get_last_error)(void* comm);
  int (*all_reduce)(const void* in, void* out, size_t count, int type, int op, void* comm, void* stream);
  int (*broadcast)(const void* in, void* out, size_t count, int type, int root, void* comm, void* stream);
  int (*all_gather)(const void* in, void* out, size_t count, int type, void* comm, void* stream);
  int (*reduce_scatter)(const void* in, void* out, size_t count, int type, int op, void* comm, void* stream);
  int (*send)(const void* in, size_t count, int type, int peer, void* comm, void* stream);
  int (*receive)(void* out, size_t count, int type, int peer, void* comm, void* stream);
  int (*group_start)();
  int (*group_end)();
};

constexpr int kNcclSuccess = 0;
constexpr int kNcclInProgress = 7;

// The stream that collectives run on, and its order with the caller's current stream.
class CommStream {
 public:
  virtual ~CommStream() = default;
  virtual void* handle() = 0;
  // What comes next on this stream starts after everything that the current stream holds by now.
  virtual void wait_for_current() = 0;
  // A point behind everything on this stream by now.
  virtual std::shared_ptr<void> mark() = 0;
  // The current stream goes on after the mark; the host does not wait.
  virtual void make_current_wait(void* mark) = 0;
  virtual bool reached(void* mark) = 0;
};

// The linked NCCL; defined where it was compiled in (SNELL_CUDA=ON).
const NcclApi& real_nccl();

}  // namespace snell::dist
