// Dynamic loss scale for float16, whose smallest number is 6e-8: the loss is multiplied before the backward pass and
// the gradients divided after it. The rules are those of PyTorch's GradScaler (torch.amp, its documentation's
// defaults): halved after a step whose gradients are not finite, doubled after 2000 steps in a row whose gradients are.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "snell/ckpt/checkpoint.h"
#include "snell/nn/parameter.h"

namespace snell::train {

class LossScaler {
 public:
  static constexpr double kGrowth = 2, kBackoff = 0.5;
  static constexpr int64_t kGrowthInterval = 2000;
  // Below this, the forward pass itself overflows, or the data are broken: no scale would help.
  static constexpr double kSmallestScale = 1;

  explicit LossScaler(double initial_scale);

  double scale() const { return scale_.item<double>(); }
  // Steps in all whose update was not made.
  int64_t skipped() const { return skipped_.item<int64_t>(); }
  bool exhausted() const { return scale() < kSmallestScale; }

  // Divides the gradients by the scale.
  void unscale(const nn::Parameters& trainable) const;
  // After each step: whether its gradients were finite, on every rank alike.
  void update(bool finite);

  // "scaler/scale", ...: live tensors on the host, to be saved or filled by loading.
  std::vector<ckpt::TensorRef> state() const;
  // Throws WeightsError where the filled state is none that update() makes.
  void check_loaded() const;

 private:
  at::Tensor scale_;         // [1] float64
  at::Tensor finite_steps_;  // [1] int64, in a row
  at::Tensor skipped_;       // [1] int64
};

}  // namespace snell::train
