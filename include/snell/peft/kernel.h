// The non-linear kernel that merges two low-rank factors into a matrix of high rank (SNELL, arXiv 2411.01800, Eq. 3-4):
//   K[i, j] = Σ_h c_h · ‖In_h[i] − Out_h[j]‖_p,   c alternating +0.1, −0.1.
// Legend: H heads, I in features, O out features, R columns a head.
#pragma once

#include <torch/types.h>

#include <vector>

#include "snell/peft/kernel_math.h"

namespace snell::peft {

class DistanceKernel {
 public:
  explicit DistanceKernel(double norm_p) : norm_p_(norm_p) {}

  double norm_p() const { return norm_p_; }
  // The distances of every head, each [I, O]: what both the merged matrix and the gradients are made of.
  std::vector<at::Tensor> distances(const at::Tensor& in_HIR, const at::Tensor& out_HOR) const;
  // K [I, O] from them.
  at::Tensor merge(const std::vector<at::Tensor>& distances_IO) const;

  struct FactorGrads {
    at::Tensor in_HIR, out_HOR;
  };
  // Gradients of both factors from dL/dK [I, O]. Where a distance is zero its gradient is zero.
  FactorGrads backward(const at::Tensor& grad_IO, const std::vector<at::Tensor>& distances_IO, const at::Tensor& in_HIR,
                       const at::Tensor& out_HOR) const;

  // c_h.
  static double coefficient(size_t head) { return kernel_coefficient<double>(static_cast<int64_t>(head)); }

 private:
  double norm_p_;
};

}  // namespace snell::peft
