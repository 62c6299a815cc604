// What dist.reproducible asks of a run besides the ordered reducer.
#pragma once

#include <c10/core/Device.h>

#include "snell/train/job_config.h"

namespace snell::train {

// LibTorch's matrix products and sums have other last digits with other numbers of threads: 1, where none is set.
RunConfig with_fixed_threads(RunConfig run, const dist::DistConfig& dist);

// Throws ConfigError for what such a run cannot do.
void check_reproducible(const JobConfig& config, int64_t ranks);

// Whether a run on this device keeps a chain (chain.h). Throws ConfigError where it is asked for and cannot be had.
bool keeps_chain(const dist::DistConfig& config, c10::Device device);

}  // namespace snell::train
