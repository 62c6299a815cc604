// One communicator of NCCL (ncclComm_t), made without blocking: every call goes through one lock, results that are
// still in progress are waited out, and it can be aborted at any moment from another thread. After the first error it
// is aborted, since the other ranks' collectives would never end.
#pragma once

#include <mutex>
#include <string>
#include <utility>

#include "snell/core/error.h"
#include "snell/dist/nccl_api.h"

namespace snell::dist {

class NcclComm {
 public:
  // `who` names this rank in errors: "rank 3 (cuda:1)".
  NcclComm(const NcclApi& api, std::string who) : api_(api), who_(std::move(who)) {}
  // Destroys it; aborts it while an exception passes, because the others may never come.
  ~NcclComm();
  NcclComm(const NcclComm&) = delete;
  NcclComm& operator=(const NcclComm&) = delete;

  // Joins the communicator of `size` ranks. False, and aborted, when that took longer than `limit_s`. Throws
  // core::Error for NCCL's errors.
  bool join(int size, const NcclId& id, int rank, double limit_s);

  // launch(comm) calls NCCL once, or once a part of a group, and returns its result. Any thread, one at a time.
  template <class F>
  void call(const char* name, F&& launch) {
    int result = kNcclSuccess;
    {
      const std::lock_guard lock(mutex_);
      require_alive();
      result = launch(comm_);
    }
    settle(name, result);
  }

  // The one place where NCCL's return codes become errors.
  void check(int result, const char* call);
  // Throws for what went wrong in the background since.
  void check_async();

  void abort() noexcept;

 private:
  void require_alive() const;  // under the lock
  int async_result();
  void settle(const char* call, int result);

  const NcclApi& api_;
  const std::string who_;
  std::timed_mutex mutex_;  // guards what is below
  void* comm_ = nullptr;
  std::string end_;  // why it was given up
};

}  // namespace snell::dist
