#include "snell/peft/low_rank.h"

#include <cmath>

#include "snell/nn/init.h"

namespace snell::peft {

LowRankDelta::LowRankDelta(const std::string& path, int64_t in_features, int64_t out_features, int64_t rank,
                           const nn::TensorPlace& place) {
  const auto matrix = [&](int64_t rows, int64_t columns) {
    return at::zeros({rows, columns}, place.options()).requires_grad_(true);
  };
  factors_ = {{path + ".learnable.0.weight", matrix(rank, in_features)},
              {path + ".learnable.1.weight", matrix(out_features, rank)}};
}

Merged LowRankDelta::merge(const at::Tensor&) const {
  Merged out;
  out.delta_IO = a_RI().t().mm(b_OR().t());
  return out;
}

std::vector<at::Tensor> LowRankDelta::factor_grads(const Merged&, const at::Tensor& grad_delta_IO) const {
  return {b_OR().t().mm(grad_delta_IO.t()), grad_delta_IO.t().mm(a_RI().t())};
}

void LowRankDelta::init(uint64_t seed) {
  at::Tensor a = a_RI();
  nn::init_uniform(a, 1.0 / std::sqrt(static_cast<double>(a.size(1))), seed, factors_[0].name);
  b_OR().zero_();
}

LowRankBranch::LowRankBranch(const std::string& path, int64_t in_features, int64_t out_features, int64_t rank,
                             bool with_bias, const nn::TensorPlace& place)
    : delta_(path, in_features, out_features, rank, place), factors_(delta_.factors()) {
  if (with_bias) {
    bias_O_ = at::zeros({out_features}, place.options()).requires_grad_(true);
    factors_.push_back({path + ".learnable.1.bias", bias_O_});
  }
}

void LowRankBranch::init(uint64_t seed) {
  delta_.init(seed);
  if (bias_O_.defined()) bias_O_.detach().zero_();
}

at::Tensor LowRankBranch::forward(const at::Tensor& x_TI, at::Tensor&) const {
  return at::linear(x_TI.mm(delta_.a_RI().t()), delta_.b_OR(), bias());
}

void LowRankBranch::add_to(at::Tensor y_TS, const at::Tensor& x_TI, at::Tensor&) const {
  y_TS.addmm_(x_TI.mm(delta_.a_RI().t()), delta_.b_OR().t());
  if (bias_O_.defined()) y_TS.add_(bias());
}

std::vector<at::Tensor> LowRankBranch::backward(const at::Tensor& x_TI, const at::Tensor& grad_TS, const at::Tensor&,
                                                at::Tensor grad_x_TI) const {
  const at::Tensor hidden_TR = x_TI.mm(delta_.a_RI().t());
  const at::Tensor grad_hidden_TR = grad_TS.mm(delta_.b_OR());
  if (grad_x_TI.defined()) grad_x_TI.addmm_(grad_hidden_TR, delta_.a_RI());
  std::vector<at::Tensor> grads{grad_hidden_TR.t().mm(x_TI), grad_TS.t().mm(hidden_TR)};
  if (bias_O_.defined()) grads.push_back(grad_TS.sum(0));
  return grads;
}

}  // namespace snell::peft
