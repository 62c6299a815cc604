// What a forward pass must know besides its input: passed as an argument and captured by autograd functions, never kept
// in a thread-local or a global (a CUDA backward pass runs on the engine's threads).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace snell::core {

// Immutable once shared. Owned by shared_ptr, because backward passes outlive the loop body that made it.
struct StepContext {
  uint64_t seed = 0;
  uint32_t step = 0;            // optimizer step since the start of the run
  bool training = false;        // false: no dropout, no drop path
  std::vector<uint32_t> slots;  // [B] each sample's slot in the epoch's order; keys its dropout masks
};

using StepContextPtr = std::shared_ptr<const StepContext>;

// A context for evaluation: nothing random.
inline StepContextPtr eval_context() { return std::make_shared<const StepContext>(); }

}  // namespace snell::core
