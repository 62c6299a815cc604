#include "snell/dist/abort_hooks.h"

#include <mutex>
#include <utility>

namespace snell::dist {
namespace {

struct Hooks {
  std::mutex mutex;
  std::list<std::function<void()>> list;
};

Hooks& hooks() {
  static Hooks all;
  return all;
}

}  // namespace

AbortHook::AbortHook(std::function<void()> abort) {
  Hooks& all = hooks();
  const std::lock_guard lock(all.mutex);
  place_ = all.list.insert(all.list.end(), std::move(abort));
}

AbortHook::~AbortHook() {
  Hooks& all = hooks();
  const std::lock_guard lock(all.mutex);
  all.list.erase(place_);
}

void run_abort_hooks() noexcept {
  Hooks& all = hooks();
  const std::lock_guard lock(all.mutex);
  for (auto& abort : all.list) {
    try {
      if (abort) std::exchange(abort, nullptr)();
    } catch (...) {
    }
  }
}

}  // namespace snell::dist
