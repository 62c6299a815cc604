// The fused road of the distance kernels: ΔW is built, cut at its quantile and added to the frozen weight in the layout
// that the layer's GEMM reads, and the factors' gradients are summed tile by tile, so that of matrices of size in × out
// only the weight itself and its gradient are ever in memory. DistanceKernel and Sparsifier do the same out of ATen
// operations, for every norm and device: what the fused road is checked against, and what serves where it does not.
// Legend: H heads, I in features, O out features, R columns a head.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "snell/peft/kernel_math.h"

namespace snell::peft {

struct FusedKernel {
  double norm_p = 2;
  KeepRule rule = KeepRule::kAll;
  bool operator==(const FusedKernel&) const = default;
};

// Whether this process's CUDA kernels gave what the ATen road gives on the machine at hand, on a few small matrices;
// the first call finds out, and logs a warning where they do not. False without a GPU.
bool cuda_kernels_agree();

// Whether the fused road exists for these factors: float32 or float64, p of 1 or 2, at most 8 heads; on the CPU, and on
// CUDA devices whose kernels agreed with ATen's.
bool fused_road_exists(const at::Tensor& in_HIR, double norm_p);

// One matrix of a merge: weight_OI = base_OI + ΔWᵀ.
struct FusedMatrix {
  at::Tensor in_HIR, out_HOR;
  at::Tensor base_OI;    // undefined: zero
  at::Tensor weight_OI;  // [O, I], contiguous, of the base's type; another one than the factors' is rounded to once
  double sparsity = 0;   // the quantile at which the rules with a threshold cut
  // What an earlier merge of the same factors found, or undefined: then the merge selects it and leaves it here, a 0-d
  // tensor of the factors' type and device; undefined for KeepRule::kAll.
  at::Tensor threshold;
};
// Merges matrices of one kernel, heads and columns: on CUDA with one launch a phase for all of them, and without host
// synchronisation; up to 4. Equal bits for any number of threads.
void fused_merge(const FusedKernel& kernel, std::vector<FusedMatrix>& matrices);

struct FusedGrads {
  at::Tensor in_HIR, out_HOR;
};
// From grad_OI = dL/dΔWᵀ, contiguous, of the factors' type. Equal bits for any number of threads.
FusedGrads fused_factor_grads(const FusedKernel& kernel, const at::Tensor& in_HIR, const at::Tensor& out_HOR,
                              const at::Tensor& grad_OI, const at::Tensor& threshold);

}  // namespace snell::peft
