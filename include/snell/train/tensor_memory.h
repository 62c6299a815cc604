// CPU memory of tensors that were freed, kept for those to come.
//
// A step allocates the same sizes as the step before. The C library either gives a freed block back to the system, and
// the next one costs a page fault every 4 KiB (a tenth of a step's time), or keeps it in a heap that frees in pieces (a
// quarter to a third on top of the peak). Here a block is kept as it is and handed out again for the same size, and
// never more than this: blocks in use and idle blocks together stay below the most that was ever in use at once. The
// block that lay idle longest goes first. docs/performance.md has the figures.
#pragma once

#include <cstdint>

namespace snell::train {

// From now on, for every CPU tensor of the process of 128 KiB and more. At a program's start, before other threads
// run; never undone. Blocks begin at a page. Threads: any may allocate and free.
void keep_freed_tensors();

// Idle blocks go back to the system, and the most that was in use becomes what is in use now.
void give_back_freed_tensors();

struct TensorMemory {  // bytes
  int64_t in_use = 0;
  int64_t idle = 0;
  int64_t most_in_use = 0;
};
TensorMemory tensor_memory();

}  // namespace snell::train
