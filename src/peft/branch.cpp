#include "snell/peft/branch.h"

#include "snell/core/error.h"

namespace snell::peft {

void Branch::set_sparsity(double) {
  throw core::Error("this adapter's entries do not compete, so it has no sparsity to set");
}

at::Tensor DeltaBranch::forward(const at::Tensor& x_TI, at::Tensor& kept) const {
  const Merged merged = delta_->merge({});
  kept = merged.threshold;
  return x_TI.mm(nn::in_type_of(x_TI, merged.delta_IO));
}

void DeltaBranch::add_to(at::Tensor y_TS, const at::Tensor& x_TI, at::Tensor& kept) const {
  const Merged merged = delta_->merge({});
  kept = merged.threshold;
  y_TS.addmm_(x_TI, nn::in_type_of(x_TI, merged.delta_IO));
}

std::vector<at::Tensor> DeltaBranch::backward(const at::Tensor& x_TI, const at::Tensor& grad_TS, const at::Tensor& kept,
                                              at::Tensor grad_x_TI) const {
  const Merged merged = delta_->merge(kept);
  if (grad_x_TI.defined()) grad_x_TI.addmm_(grad_TS, nn::in_type_of(grad_TS, merged.delta_IO).t());
  return delta_->factor_grads(merged, nn::in_type_of(merged.delta_IO, x_TI.t().mm(grad_TS)));
}

}  // namespace snell::peft
