#include "snell/plan/scaling.h"

namespace snell::plan {

double efficiency(const ScalingPoint& point, const ScalingPoint& first) {
  const double one = first.samples_per_s() / static_cast<double>(first.ranks);
  return one > 0 ? point.samples_per_s() / static_cast<double>(point.ranks) / one : 0;
}

std::vector<int64_t> doubling(int64_t most) {
  std::vector<int64_t> out;
  for (int64_t ranks = 1; ranks <= most; ranks *= 2) out.push_back(ranks);
  return out;
}

Share share_of(int64_t parts, int64_t ranks) {
  return {parts % ranks == 0, (parts + ranks - 1) / ranks};
}

}  // namespace snell::plan
