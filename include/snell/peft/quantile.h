// Linear-interpolated quantile over a whole matrix, without torch.quantile's limit of 2^24 elements.
#pragma once

#include <torch/types.h>

namespace snell::peft {

// Where quantile q of n values lies between two order statistics: value[below] + weight·(value[below + 1] −
// value[below]).
struct QuantileRank {
  int64_t below = 0;
  double weight = 0;  // in [0, 1)
};

// torch.quantile's rank: q·(n−1) computed in the values' own type, so that float32 matrices round as the published code
// does; beyond 2^24 values, where a float32 cannot count them and torch refuses, in float64.
QuantileRank quantile_rank(double q, int64_t n, at::ScalarType dtype);

// The quantile of all elements as a 0-d tensor of their type and device; NaN when any element is NaN. No host
// synchronisation on CUDA. q in [0, 1]; at least one element.
at::Tensor matrix_quantile(const at::Tensor& values, double q);

}  // namespace snell::peft
