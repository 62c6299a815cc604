#include "snell/train/ema.h"

#include <ATen/ops/_foreach_lerp.h>

#include <cmath>

namespace snell::train {

double ema_decay(const EmaConfig& config, int64_t steps_done) {
  if (!config.warmup) return config.decay;
  return std::min(config.decay, 1 - std::pow(static_cast<double>(steps_done), -2.0 / 3.0));
}

WeightsEma::WeightsEma(nn::Parameters trainable, const EmaConfig& config)
    : trainable_(std::move(trainable)), config_(config) {
  for (const auto& [name, tensor] : trainable_) {
    weights_.push_back(tensor.detach());
    averages_.push_back(tensor.detach().clone());
  }
}

void WeightsEma::reset() {
  for (size_t i = 0; i < weights_.size(); ++i) averages_[i].copy_(weights_[i]);
}

void WeightsEma::update(int64_t steps_done) {
  at::_foreach_lerp_(averages_, weights_, 1 - ema_decay(config_, steps_done));
}

void WeightsEma::swap() {
  for (size_t i = 0; i < weights_.size(); ++i) {
    const at::Tensor average = averages_[i].clone();
    averages_[i].copy_(weights_[i]);
    weights_[i].copy_(average);
  }
}

std::vector<ckpt::TensorRef> WeightsEma::state(const std::string& prefix) const {
  std::vector<ckpt::TensorRef> out;
  for (size_t i = 0; i < averages_.size(); ++i) out.push_back({prefix + trainable_[i].name, averages_[i]});
  return out;
}

}  // namespace snell::train
