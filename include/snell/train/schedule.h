// Learning rate by epoch.
#pragma once

#include <cstdint>

#include "snell/train/job_config.h"

namespace snell::train {

// The rate that all steps of `epoch` (0-based) of `epochs` use: timm's CosineLRScheduler, whose cosine runs over all
// epochs but the cool-down and is overlaid by the warm-up. stepping "before" gives f(epoch); "reference" steps after
// each epoch, as the published code does, so epochs 0 and 1 both run at f(0) and epoch e at f(e − 1).
double learning_rate(const ScheduleConfig& schedule, double peak, int64_t epochs, int64_t epoch);

}  // namespace snell::train
