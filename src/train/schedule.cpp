#include "snell/train/schedule.h"

#include <cmath>
#include <numbers>

namespace snell::train {

double learning_rate(const ScheduleConfig& schedule, double peak, int64_t epochs, int64_t epoch) {
  if (schedule.stepping == "reference" && epoch > 0) --epoch;
  if (epoch < schedule.warmup_epochs) {
    const double rise = (peak - schedule.warmup_lr) / static_cast<double>(schedule.warmup_epochs);
    return schedule.warmup_lr + static_cast<double>(epoch) * rise;
  }
  if (schedule.name == "constant") return peak;
  const int64_t length = epochs - schedule.cooldown_epochs;
  if (epoch >= length) return schedule.min_lr;
  const double phase = std::numbers::pi * static_cast<double>(epoch) / static_cast<double>(length);
  return schedule.min_lr + 0.5 * (peak - schedule.min_lr) * (1.0 + std::cos(phase));
}

}  // namespace snell::train
