#include "snell/peft/weight_delta.h"

#include <ATen/record_function.h>

#include <array>
#include <cmath>

#include "snell/core/error.h"
#include "snell/nn/init.h"

namespace snell::peft {

KernelDelta::KernelDelta(const std::string& path, const Shape& shape, std::unique_ptr<Sparsifier> sparsifier,
                         const nn::TensorPlace& place)
    : kernel_(shape.norm_p), sparsifier_(std::move(sparsifier)) {
  const int64_t columns = shape.rank / shape.heads;
  core::check(columns > 0 && columns * shape.heads == shape.rank,
              core::str("rank ", shape.rank, " cannot be cut into ", shape.heads, " heads"));
  const auto factor = [&](int64_t rows) {
    return at::zeros({shape.heads, rows, columns}, place.trainable_options()).requires_grad_(true);
  };
  factors_ = {{path + ".learnable.In_Qs", factor(shape.in_features)},
              {path + ".learnable.Out_Qs", factor(shape.out_features)}};
  if (shape.mixed) {
    mix_.emplace(path, place);
    factors_.insert(factors_.end(), mix_->scalars().begin(), mix_->scalars().end());
  }
}

at::Tensor KernelDelta::merge_into(at::Tensor weight_OI, const at::Tensor& base_OI, const at::Tensor& threshold) const {
  if (auto job = merge_job(weight_OI, base_OI, threshold)) {
    std::vector<FusedMatrix> matrices{std::move(job->matrix)};
    fused_merge(job->kernel, matrices);
    return matrices[0].threshold;
  }
  const Merged merged = merge(threshold);
  if (base_OI.defined()) {
    at::add_out(weight_OI, base_OI, merged.delta_IO.t());
  } else {
    weight_OI.copy_(merged.delta_IO.t());
  }
  return merged.threshold;
}

std::optional<MergeJob> KernelDelta::merge_job(at::Tensor weight_OI, const at::Tensor& base_OI,
                                               const at::Tensor& threshold) const {
  if (!takes_fused_road()) return std::nullopt;
  return MergeJob{fused_kernel(),
                  {in_HIR(), out_HOR(), base_OI, std::move(weight_OI), sparsifier_->sparsity(), threshold}};
}

std::vector<at::Tensor> KernelDelta::factor_grads(const at::Tensor& grad_OI, const at::Tensor& threshold) const {
  const at::Tensor wide_OI = nn::in_type_of(factors_[0].tensor, grad_OI);
  if (!takes_fused_road()) return factor_grads(merge(threshold), wide_OI.t());
  const double kept = threshold.defined() ? 1 - sparsifier_->sparsity() : 1;
  const std::array<c10::IValue, 3> sizes{grad_OI.numel(), in_HIR().size(0) * in_HIR().size(2), kept};
  RECORD_FUNCTION("snell::factor_grads", sizes);  // for profilers, and `snell plan`
  FusedGrads grads = fused_factor_grads(fused_kernel(), in_HIR(), out_HOR(), wide_OI, threshold);
  return {std::move(grads.in_HIR), std::move(grads.out_HOR)};
}

Merged KernelDelta::merge(const at::Tensor& threshold) const {
  Merged out;
  out.distances_IO = kernel_.distances(in_HIR(), out_HOR());
  out.delta_IO = kernel_.merge(out.distances_IO);
  if (mix_) {
    out.softmax_IO = mix_->softmax(out.delta_IO);
    mix_->apply_(out.delta_IO, out.softmax_IO);
  }
  Sparsified sparse = (*sparsifier_)(out.delta_IO, threshold);
  if (sparse.scale_IO.defined()) out.delta_IO.mul_(sparse.scale_IO);
  out.scale_IO = std::move(sparse.scale_IO);
  out.threshold = std::move(sparse.threshold);
  return out;
}

std::vector<at::Tensor> KernelDelta::factor_grads(const Merged& merged, const at::Tensor& grad_delta_IO) const {
  at::Tensor grad_IO = merged.scale_IO.defined() ? grad_delta_IO * merged.scale_IO : grad_delta_IO;
  std::vector<at::Tensor> scalars;
  if (mix_) {
    auto mixed = mix_->backward(grad_IO, kernel_.merge(merged.distances_IO), merged.softmax_IO);
    grad_IO = std::move(mixed.kernel_IO);
    scalars = std::move(mixed.scalars);
  }
  auto grads = kernel_.backward(grad_IO, merged.distances_IO, in_HIR(), out_HOR());
  std::vector<at::Tensor> out{std::move(grads.in_HIR), std::move(grads.out_HOR)};
  out.insert(out.end(), scalars.begin(), scalars.end());
  return out;
}

void KernelDelta::init(uint64_t seed) {
  for (size_t i = 0; i < 2; ++i) {
    at::Tensor target = factors_[i].tensor.detach();
    nn::init_uniform(target, 1.0 / std::sqrt(static_cast<double>(target.size(1) * target.size(2))), seed,
                     factors_[i].name);
  }
  if (mix_) mix_->init();
}

}  // namespace snell::peft
