#include "snell/nn/prologue.h"

#include "snell/nn/parameter.h"

namespace snell::nn {

Prologue Prologue::layer_norm(const at::Tensor& weight_D, const at::Tensor& bias_D, double eps) {
  Prologue out;
  out.kind_ = Kind::kLayerNorm;
  out.weight_D_ = weight_D;
  out.bias_D_ = bias_D;
  out.eps_ = eps;
  return out;
}

Prologue Prologue::gelu() {
  Prologue out;
  out.kind_ = Kind::kGelu;
  return out;
}

at::Tensor Prologue::operator()(const at::Tensor& x) const {
  switch (kind_) {
    case Kind::kLayerNorm:
      return at::layer_norm(x, weight_D_.sizes(), in_type_of(x, weight_D_), in_type_of(x, bias_D_), eps_);
    case Kind::kGelu:
      return at::gelu(x);
    case Kind::kNone:
      break;
  }
  return x;
}

Prologue::Result Prologue::forward(const at::Tensor& x) const {
  if (kind_ != Kind::kLayerNorm) return {(*this)(x), {}, {}};
  auto [y, mean, rstd] =
      at::native_layer_norm(x, weight_D_.sizes(), in_type_of(x, weight_D_), in_type_of(x, bias_D_), eps_);
  return {std::move(y), std::move(mean), std::move(rstd)};
}

at::Tensor Prologue::backward(const at::Tensor& grad_y, const at::Tensor& x, const Result& result) const {
  switch (kind_) {
    case Kind::kLayerNorm:
      return std::get<0>(at::native_layer_norm_backward(grad_y, x, weight_D_.sizes(), result.mean, result.rstd,
                                                        in_type_of(x, weight_D_), in_type_of(x, bias_D_),
                                                        {true, false, false}));
    case Kind::kGelu:
      return at::gelu_backward(grad_y, x);
    case Kind::kNone:
      break;
  }
  return grad_y;
}

}  // namespace snell::nn
