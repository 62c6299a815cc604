#include "snell/peft/bottleneck.h"

#include <cmath>

#include "snell/nn/init.h"

namespace snell::peft {

BottleneckBranch::BottleneckBranch(const std::string& path, int64_t in_features, int64_t out_features, int64_t rank,
                                   const nn::TensorPlace& place) {
  const auto matrix = [&](int64_t rows, int64_t columns) {
    return at::zeros({rows, columns}, place.options()).requires_grad_(true);
  };
  factors_ = {{path + ".learnable.0.weight", matrix(rank, in_features)},
              {path + ".learnable.2.weight", matrix(out_features, rank)}};  // .1 is the GELU in the published code
}

void BottleneckBranch::init(uint64_t seed) {
  at::Tensor a = a_RI();
  nn::init_uniform(a, 1.0 / std::sqrt(static_cast<double>(a.size(1))), seed, factors_[0].name);
  b_OR().zero_();
}

at::Tensor BottleneckBranch::forward(const at::Tensor& x_TI, at::Tensor&) const {
  return at::gelu(x_TI.mm(a_RI().t())).mm(b_OR().t());
}

std::vector<at::Tensor> BottleneckBranch::backward(const at::Tensor& x_TI, const at::Tensor& grad_TS, const at::Tensor&,
                                                   at::Tensor grad_x_TI) const {
  const at::Tensor hidden_TR = x_TI.mm(a_RI().t());
  const at::Tensor grad_hidden_TR = at::gelu_backward(grad_TS.mm(b_OR()), hidden_TR);
  if (grad_x_TI.defined()) grad_x_TI.addmm_(grad_hidden_TR, a_RI());
  return {grad_hidden_TR.t().mm(x_TI), grad_TS.t().mm(at::gelu(hidden_TR))};
}

}  // namespace snell::peft
