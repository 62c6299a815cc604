// Whether the CUDA kernels of this build can be trusted on the machine at hand.
#include "snell/core/log.h"
#include "snell/peft/fused.h"
#ifdef SNELL_WITH_CUDA
#include <ATen/cuda/CUDAContext.h>

#include "fused_cuda.h"
#include "snell/core/error.h"
#include "snell/peft/weight_delta.h"
#endif

namespace snell::peft {

#ifdef SNELL_WITH_CUDA
namespace {

// Largest |a − b| over the largest |b|.
double relative_error(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).abs().max() / b.abs().max().clamp_min(1e-30)).item<double>();
}

// A small matrix on both roads; empty: they agree.
std::string disagreement(const KernelDelta::Shape& shape, std::unique_ptr<Sparsifier> sparsifier) {
  const KernelDelta delta("check", shape, std::move(sparsifier), {at::kFloat, at::Device(at::kCUDA)});
  for (const auto& [name, tensor] : delta.factors()) {  // a pattern that is the same on every machine
    at::Tensor target = tensor.detach();
    target.copy_(at::arange(target.numel(), target.options()).mul_(0.7).sin_().view_as(target));
  }
  const Merged expected = delta.merge({});
  FusedMatrix matrix{delta.factors()[0].tensor.detach(),
                     delta.factors()[1].tensor.detach(),
                     {},
                     at::empty({shape.out_features, shape.in_features}, expected.delta_IO.options()),
                     delta.sparsity(),
                     {}};
  std::vector<FusedMatrix> matrices{matrix};
  fused_merge_cuda(delta.fused_kernel(), matrices);
  const at::Tensor grad_OI =
      at::arange(matrix.weight_OI.numel(), matrix.weight_OI.options()).mul_(0.3).cos_().view_as(matrix.weight_OI);
  const FusedGrads grads =
      fused_factor_grads_cuda(delta.fused_kernel(), matrix.in_HIR, matrix.out_HOR, grad_OI, matrices[0].threshold);
  const auto expected_grads = delta.factor_grads(expected, grad_OI.t());
  const double merged = relative_error(matrix.weight_OI.t(), expected.delta_IO);
  const double in = relative_error(grads.in_HIR, expected_grads[0]),
               out = relative_error(grads.out_HOR, expected_grads[1]);
  // The entries next to the threshold may fall on either side of it; here they are far from it.
  if (merged <= 1e-4 && in <= 1e-3 && out <= 1e-3) return "";
  return core::str(shape.in_features, "x", shape.out_features, " p=", shape.norm_p, ": off by ", merged, " (matrix), ",
                   in, " and ", out, " (gradients)");
}

std::string first_disagreement() {
  const KernelDelta::Shape shapes[] = {{37, 50, 6, 2, 2}, {130, 67, 32, 2, 2}, {33, 20, 9, 3, 1}};
  for (const auto& shape : shapes) {
    for (auto* make : {+[]() -> std::unique_ptr<Sparsifier> { return std::make_unique<KeepAll>(); },
                       +[]() -> std::unique_ptr<Sparsifier> { return std::make_unique<HardThreshold>(0.6); },
                       +[]() -> std::unique_ptr<Sparsifier> { return std::make_unique<SoftThreshold>(0.6); }}) {
      if (std::string found = disagreement(shape, make()); !found.empty()) return found;
    }
  }
  return "";
}

}  // namespace
#endif

bool cuda_kernels_agree() {
#ifdef SNELL_WITH_CUDA
  static const bool agree = [] {
    if (at::cuda::device_count() == 0) return false;
    std::string found;
    try {
      found = first_disagreement();
    } catch (const std::exception& error) {
      found = error.what();
    }
    if (!found.empty()) {
      core::log_warning(
          core::str("the fused CUDA kernels do not agree with ATen on this GPU (", found,
                    "); ATen's slower operations are used instead. Please report it with the output of snell doctor"));
    }
    return found.empty();
  }();
  return agree;
#else
  return false;
#endif
}

}  // namespace snell::peft
