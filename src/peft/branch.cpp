#include "snell/peft/branch.h"

#include "snell/core/error.h"

namespace snell::peft {

void Branch::set_sparsity(double) {
  throw core::Error("this adapter's entries do not compete, so it has no sparsity to set");
}

void Branch::merge_into(at::Tensor, const at::Tensor&, Kept&) const {
  throw core::Error("this adapter is no matrix, so it cannot be merged into a weight");
}

std::vector<at::Tensor> Branch::weight_backward(const at::Tensor&, const Kept&) const {
  throw core::Error("this adapter's gradients do not come from its matrix's");
}

at::Tensor DeltaBranch::build(const at::Tensor& x_TI, at::Tensor& threshold) const {
  const auto [in, out] = delta_->shape();
  at::Tensor delta_SI = at::empty({out, in}, x_TI.options());
  threshold = delta_->merge_into(delta_SI, {}, threshold);
  return delta_SI;
}

at::Tensor DeltaBranch::forward(const at::Tensor& x_TI, Kept& kept) const {
  const at::Tensor delta_SI = build(x_TI, kept.threshold);
  if (kept.keeps_delta) kept.delta_SI = delta_SI;
  return x_TI.mm(delta_SI.t());
}

void DeltaBranch::add_to(at::Tensor y_TS, const at::Tensor& x_TI, Kept& kept) const {
  const at::Tensor delta_SI = build(x_TI, kept.threshold);
  if (kept.keeps_delta) kept.delta_SI = delta_SI;
  y_TS.addmm_(x_TI, delta_SI.t());
}

std::vector<at::Tensor> DeltaBranch::backward(const at::Tensor& x_TI, const at::Tensor& grad_TS, const Kept& kept,
                                              at::Tensor grad_x_TI) const {
  at::Tensor delta_SI = kept.delta_SI;
  if (grad_x_TI.defined()) {
    at::Tensor threshold = kept.threshold;
    if (!delta_SI.defined()) delta_SI = build(x_TI, threshold);
    grad_x_TI.addmm_(grad_TS, delta_SI);
  }
  // ΔW is done with: its gradient takes its place.
  at::Tensor grad_SI = delta_SI.defined() ? delta_SI : at::empty({grad_TS.size(1), x_TI.size(1)}, x_TI.options());
  at::mm_out(grad_SI, grad_TS.t(), x_TI);
  return delta_->factor_grads(grad_SI, kept.threshold);
}

at::Tensor DeltaBranch::merged() const {
  at::Tensor threshold;
  return build(factors().front().tensor.detach(), threshold).t();
}

}  // namespace snell::peft
