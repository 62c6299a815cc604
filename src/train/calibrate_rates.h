// The computing part of calibrate.h.
#pragma once

#include <functional>

#include "snell/plan/machine.h"

namespace snell::train {

// Of this process with LibTorch's present number of threads. `sync` is called before each measurement.
plan::Rates measure_rates(const std::function<void()>& sync);

}  // namespace snell::train
