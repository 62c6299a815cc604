// How many threads LibTorch gets in a rank.
#pragma once

#include "snell/train/job_config.h"

namespace snell::train {

// run.threads; where that is 0, OMP_NUM_THREADS, and without it this node's cores divided by its ranks.
void set_threads(const RunConfig& config, int ranks_of_node);

}  // namespace snell::train
