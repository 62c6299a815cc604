// What a block does to a tensor before a projection reads it: a layer norm, a GELU, or nothing. A projection is handed
// it beside the tensor, so that one which keeps its input for the backward pass keeps the tensor as it was before (the
// residual stream, fc1's result), which is alive anyway, and works the prologue out again.
#pragma once

#include <torch/types.h>

namespace snell::nn {

class Prologue {
 public:
  Prologue() = default;  // nothing
  // Over the last dimension, whose size is that of both tensors.
  static Prologue layer_norm(const at::Tensor& weight_D, const at::Tensor& bias_D, double eps);
  static Prologue gelu();

  // What the projection reads. Differentiable.
  at::Tensor operator()(const at::Tensor& x) const;
  // Whether parameters of its own train: then only operator() under autograd will do.
  bool trains() const { return weight_D_.defined() && (weight_D_.requires_grad() || bias_D_.requires_grad()); }

  // The same outside of autograd, with what its gradient needs.
  struct Result {
    at::Tensor y, mean, rstd;
  };
  Result forward(const at::Tensor& x) const;
  // dL/dx from dL/dy.
  at::Tensor backward(const at::Tensor& grad_y, const at::Tensor& x, const Result& result) const;

 private:
  enum class Kind { kNone, kLayerNorm, kGelu };
  Kind kind_ = Kind::kNone;
  at::Tensor weight_D_, bias_D_;
  double eps_ = 0;
};

}  // namespace snell::nn
