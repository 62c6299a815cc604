// Writes down which operations LibTorch and this program's own kernels run on this thread, with their sizes; on a real
// device also how long each took. On the meta device it is how `snell plan` learns what a step does.
#pragma once

#include <functional>
#include <memory>

#include "snell/plan/trace.h"

namespace snell::train {

// While it lives, each operation is handed to `found` when it ends, with the seconds that it took on the host. Calls
// that others are made of are counted once, views and allocations not at all. One at a time a thread. The backward pass
// on the CPU and the meta device runs on the thread that asks for it.
class OpObserver {
 public:
  using Found = std::function<void(const plan::Op&, double seconds)>;
  explicit OpObserver(Found found);
  ~OpObserver();
  OpObserver(const OpObserver&) = delete;
  OpObserver& operator=(const OpObserver&) = delete;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace snell::train
