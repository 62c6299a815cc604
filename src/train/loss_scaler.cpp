#include "snell/train/loss_scaler.h"

#include <cmath>

#include "snell/core/error.h"

namespace snell::train {

LossScaler::LossScaler(double initial_scale)
    : scale_(at::full({1}, initial_scale, at::kDouble)),
      finite_steps_(at::zeros({1}, at::kLong)),
      skipped_(at::zeros({1}, at::kLong)) {}

void LossScaler::unscale(const nn::Parameters& trainable) const {
  const double inverse = 1 / scale();
  for (const auto& parameter : trainable) {
    if (parameter.tensor.grad().defined()) parameter.tensor.mutable_grad().mul_(inverse);
  }
}

void LossScaler::update(bool finite) {
  if (!finite) {
    scale_.mul_(kBackoff);
    finite_steps_.zero_();
    skipped_.add_(1);
  } else if (finite_steps_.add_(1).item<int64_t>() == kGrowthInterval) {
    scale_.mul_(kGrowth);
    finite_steps_.zero_();
  }
}

std::vector<ckpt::TensorRef> LossScaler::state() const {
  return {{"scaler/scale", scale_}, {"scaler/finite_steps", finite_steps_}, {"scaler/skipped", skipped_}};
}

void LossScaler::check_loaded() const {
  if (std::isfinite(scale()) && !exhausted() && finite_steps_.item<int64_t>() >= 0 && skipped() >= 0) return;
  throw core::WeightsError(core::str("the checkpoint's loss scale is no state of a run that can go on: scale ", scale(),
                                     ", ", finite_steps_.item<int64_t>(), " finite steps, ", skipped(), " skipped"));
}

}  // namespace snell::train
