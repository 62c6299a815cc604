#include "nccl_comm.h"

#include <unistd.h>

#include <chrono>
#include <exception>

#include "snell/core/text.h"
#include "snell/core/timer.h"

namespace snell::dist {

namespace {
constexpr int kPollMicroseconds = 50;
}

NcclComm::~NcclComm() {
  if (comm_ == nullptr) return;
  if (std::uncaught_exceptions() > 0) {
    abort();
  } else {
    api_.comm_destroy(comm_);
  }
}

bool NcclComm::join(int size, const NcclId& id, int rank, double limit_s) {
  const core::Timer timer;
  int result = kNcclSuccess;
  {
    const std::lock_guard lock(mutex_);
    result = api_.comm_init_rank(&comm_, size, id, rank);
  }
  while (result == kNcclInProgress) {
    if (timer.seconds() > limit_s) {
      abort();
      return false;
    }
    ::usleep(kPollMicroseconds);
    result = async_result();
  }
  check(result, "ncclCommInitRankConfig");
  return true;
}

void NcclComm::require_alive() const {
  if (comm_ != nullptr) [[likely]]
    return;
  throw core::Error(
      core::str("the NCCL communicator of ", who_, " was aborted", end_.empty() ? "" : core::str(": ", end_)));
}

int NcclComm::async_result() {
  const std::lock_guard lock(mutex_);
  require_alive();
  int result = kNcclSuccess;
  const int status = api_.comm_get_async_error(comm_, &result);
  return status == kNcclSuccess ? result : status;
}

void NcclComm::check_async() {
  const int result = async_result();
  if (result != kNcclInProgress) check(result, "an earlier NCCL operation");
}

void NcclComm::settle(const char* call, int result) {
  while (result == kNcclInProgress) {
    ::usleep(kPollMicroseconds);
    result = async_result();
  }
  check(result, call);
}

void NcclComm::check(int result, const char* call) {
  if (result == kNcclSuccess) [[likely]]
    return;
  std::string text;
  {
    const std::lock_guard lock(mutex_);
    const char* detail = comm_ == nullptr ? nullptr : api_.get_last_error(comm_);
    text = core::str(call, " failed on ", who_, ": ", api_.get_error_string(result),
                     detail == nullptr || *detail == '\0' ? "" : core::str("; ", detail),
                     ". NCCL_DEBUG=INFO in the environment shows more");
    if (end_.empty()) end_ = text;
  }
  abort();
  throw core::Error(text);
}

// Whoever holds the lock leaves it soon, since no call blocks; a call that hangs all the same must not hold up the end.
void NcclComm::abort() noexcept {
  const std::unique_lock lock(mutex_, std::chrono::seconds(2));
  void* comm = std::exchange(comm_, nullptr);
  if (comm != nullptr) api_.comm_abort(comm);
}

}  // namespace snell::dist
