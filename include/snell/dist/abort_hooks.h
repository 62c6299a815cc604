// What must be torn down when this process gives up on the others: a communicator whose kernels wait for a rank that
// never comes. Whoever owns such a thing registers how; the watchdog calls it before the process ends.
#pragma once

#include <functional>
#include <list>

namespace snell::dist {

class AbortHook {
 public:
  // `abort` is called at most once, on another thread, while this object lives.
  explicit AbortHook(std::function<void()> abort);
  // Waits for a call under way.
  ~AbortHook();
  AbortHook(const AbortHook&) = delete;
  AbortHook& operator=(const AbortHook&) = delete;

 private:
  std::list<std::function<void()>>::iterator place_;
};

// Calls every hook that was not called yet. What a hook throws is dropped: the process ends anyway.
void run_abort_hooks() noexcept;

}  // namespace snell::dist
