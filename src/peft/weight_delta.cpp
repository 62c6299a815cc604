#include "snell/peft/weight_delta.h"

#include <cmath>

#include "snell/core/error.h"
#include "snell/nn/init.h"

namespace snell::peft {

KernelDelta::KernelDelta(const std::string& path, const Shape& shape, double sparsity,
                         std::unique_ptr<Sparsifier> sparsifier, const nn::TensorPlace& place)
    : kernel_(shape.norm_p), sparsity_(sparsity), sparsifier_(std::move(sparsifier)) {
  const int64_t columns = shape.rank / shape.heads;
  core::check(columns > 0 && columns * shape.heads == shape.rank,
              core::str("rank ", shape.rank, " cannot be cut into ", shape.heads, " heads"));
  const auto factor = [&](int64_t rows) {
    return at::zeros({shape.heads, rows, columns}, place.options()).requires_grad_(true);
  };
  factors_ = {{path + ".learnable.In_Qs", factor(shape.in_features)},
              {path + ".learnable.Out_Qs", factor(shape.out_features)}};
}

Merged KernelDelta::merge(const at::Tensor& threshold) const {
  Merged out;
  out.distances_IO = kernel_.distances(in_HIR(), out_HOR());
  out.delta_IO = kernel_.merge(out.distances_IO);
  Sparsified sparse = (*sparsifier_)(out.delta_IO, threshold);
  if (sparse.scale_IO.defined()) out.delta_IO.mul_(sparse.scale_IO);
  out.scale_IO = std::move(sparse.scale_IO);
  out.threshold = std::move(sparse.threshold);
  return out;
}

std::vector<at::Tensor> KernelDelta::factor_grads(const Merged& merged, const at::Tensor& grad_delta_IO) const {
  const at::Tensor grad_IO = merged.scale_IO.defined() ? grad_delta_IO * merged.scale_IO : grad_delta_IO;
  auto grads = kernel_.backward(grad_IO, merged.distances_IO, in_HIR(), out_HOR());
  return {std::move(grads.in_HIR), std::move(grads.out_HOR)};
}

void KernelDelta::init(uint64_t seed) {
  for (auto& [name, tensor] : factors_) {
    at::Tensor target = tensor.detach();
    nn::init_uniform(target, 1.0 / std::sqrt(static_cast<double>(target.size(1) * target.size(2))), seed, name);
  }
}

}  // namespace snell::peft
