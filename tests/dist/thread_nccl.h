// A table of NCCL functions that moves real data among ranks that are threads, as a GPU would: an operation is put on a
// stream (thread_stream.h) and runs when all ranks' streams have come to it. It reads its inputs only then, so that a
// missing order between streams gives wrong numbers. Communicators do not block: every answer is "in progress" first,
// and an operation reaches its stream only when that has been waited out.
//
// Freed memory of CPU tensors is kept (keep_freed_memory()), since a stream may still read it, as with CUDA's caching
// allocator.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "snell/dist/nccl_api.h"

namespace snell::dist {

const NcclApi& thread_nccl();

// What goes wrong, set by a test before its ranks start. Ranks are those within the communicator.
struct ThreadNcclFaults {
  int init_fails_on_rank = -1;  // answers with an error, and does not join
  int never_joins_rank = -1;    // in progress for ever
  int init_hangs_on_rank = -1;  // does not return before release_hanging()
  int fails_on_rank = -1;       // its operation number `fails_at` breaks the communicator for all ranks
  int64_t fails_at = 0;
};

// What happened since reset_thread_nccl().
struct ThreadNcclCounts {
  int made = 0, destroyed = 0, aborted = 0;
  int misused = 0;                     // calls on a communicator that was destroyed or aborted, or not waited for
  std::vector<std::string> conflicts;  // operations of one number that did not fit together
};

void reset_thread_nccl(const ThreadNcclFaults& faults = {});
ThreadNcclCounts thread_nccl_counts();
void release_hanging();

// From now on, in this process.
void keep_freed_memory();

}  // namespace snell::dist
