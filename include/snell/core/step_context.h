// What a forward pass must know besides its input: passed as an argument and captured by autograd functions, never kept
// in a thread-local or a global (a CUDA backward pass runs on the engine's threads).
#pragma once

#include <cstdint>

namespace snell::core {

// Plain values, so that capturing it is a copy and kernels take its members as arguments. Sample b of the shard sits in
// slot `first_slot` + b of the epoch's order; the slot, not the rank, keys its dropout masks.
struct StepContext {
  uint64_t seed = 0;
  uint32_t step = 0;        // optimizer step since the start of the run
  uint32_t first_slot = 0;  // slot of the shard's first sample in the epoch's order
  bool training = false;    // false: no dropout, no drop path
};

}  // namespace snell::core
