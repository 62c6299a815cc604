// How a run scales: rows over numbers of ranks, as tables, JSON and a picture's series.
#pragma once

#include <cstdint>
#include <vector>

#include "snell/plan/step_time.h"

namespace snell::plan {

struct ScalingPoint {
  int64_t ranks = 1;
  int64_t samples = 0;     // of the global batch
  int64_t busy_ranks = 1;  // that have a sample at all
  double memory_bytes = 0;
  StepTime time;
  double samples_per_s() const { return time.seconds > 0 ? static_cast<double>(samples) / time.seconds : 0; }
};

// Of samples a second a rank, to the first point's: 1 where `ranks` times as many ranks do `ranks` times the work.
double efficiency(const ScalingPoint& point, const ScalingPoint& first);

// 1, 2, 4, … up to `most`.
std::vector<int64_t> doubling(int64_t most);

// Whether `parts` are dealt to `ranks` alike, and what a rank gets at the most.
struct Share {
  bool even = true;
  int64_t most = 0;
};
Share share_of(int64_t parts, int64_t ranks);

}  // namespace snell::plan
