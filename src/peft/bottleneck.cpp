#include "snell/peft/bottleneck.h"

namespace snell::peft {

at::Tensor BottleneckBranch::forward(const at::Tensor& x_TI, Kept&) const {
  return at::gelu(x_TI.mm(pair_.a_RI(x_TI).t())).mm(pair_.b_OR(x_TI).t());
}

std::vector<at::Tensor> BottleneckBranch::backward(const at::Tensor& x_TI, const at::Tensor& grad_TS, const Kept&,
                                                   at::Tensor grad_x_TI) const {
  const at::Tensor a_RI = pair_.a_RI(x_TI);
  const at::Tensor hidden_TR = x_TI.mm(a_RI.t());
  const at::Tensor grad_hidden_TR = at::gelu_backward(grad_TS.mm(pair_.b_OR(x_TI)), hidden_TR);
  if (grad_x_TI.defined()) grad_x_TI.addmm_(grad_hidden_TR, a_RI);
  return {grad_hidden_TR.t().mm(x_TI), grad_TS.t().mm(at::gelu(hidden_TR))};
}

}  // namespace snell::peft
