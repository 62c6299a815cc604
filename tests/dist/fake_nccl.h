// A table of NCCL functions that moves CPU tensors through MPI, and a stream that writes down what it is asked: the
// NCCL communicator's logic without a GPU.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "snell/dist/nccl_api.h"

namespace snell::dist {

// Set by a test: what the next calls answer.
struct FakeNccl {
  int next_result = 0;
  int async_error = 0;
  int init_fails_on_rank = -1;
  int live_comms = 0;
  int aborted_comms = 0;
};
FakeNccl& fake_nccl_state();
const NcclApi& fake_nccl();

// Appends "wait_for_current", "mark", "make_current_wait" to `calls`.
std::unique_ptr<CommStream> fake_stream(std::vector<std::string>* calls);

}  // namespace snell::dist
