#include "snell/peft/low_rank.h"

namespace snell::peft {

LowRankBranch::LowRankBranch(const std::string& path, int64_t in_features, int64_t out_features, int64_t rank,
                             bool with_bias, const nn::TensorPlace& place)
    : pair_(path + ".learnable.0.weight", path + ".learnable.1.weight", in_features, out_features, rank, place),
      factors_(pair_.parameters()) {
  if (with_bias) {
    bias_O_ = at::zeros({out_features}, place.trainable_options()).requires_grad_(true);
    factors_.push_back({path + ".learnable.1.bias", bias_O_});
  }
}

void LowRankBranch::init(uint64_t seed) {
  pair_.init(seed);
  if (bias_O_.defined()) bias_O_.detach().zero_();
}

at::Tensor LowRankBranch::forward(const at::Tensor& x_TI, Kept&) const {
  return at::linear(x_TI.mm(pair_.a_RI(x_TI).t()), pair_.b_OR(x_TI), nn::in_type_of(x_TI, bias()));
}

void LowRankBranch::add_to(at::Tensor y_TS, const at::Tensor& x_TI, Kept&) const {
  y_TS.addmm_(x_TI.mm(pair_.a_RI(x_TI).t()), pair_.b_OR(x_TI).t());
  if (bias_O_.defined()) y_TS.add_(bias());
}

void LowRankBranch::merge_into(at::Tensor weight_SI, const at::Tensor& base_SI, Kept&) const {
  at::addmm_out(weight_SI, base_SI, pair_.b_OR(weight_SI), pair_.a_RI(weight_SI));
}

std::vector<at::Tensor> LowRankBranch::backward(const at::Tensor& x_TI, const at::Tensor& grad_TS, const Kept&,
                                                at::Tensor grad_x_TI) const {
  const at::Tensor a_RI = pair_.a_RI(x_TI);
  const at::Tensor hidden_TR = x_TI.mm(a_RI.t());
  const at::Tensor grad_hidden_TR = grad_TS.mm(pair_.b_OR(x_TI));
  if (grad_x_TI.defined()) grad_x_TI.addmm_(grad_hidden_TR, a_RI);
  std::vector<at::Tensor> grads{grad_hidden_TR.t().mm(x_TI), grad_TS.t().mm(hidden_TR)};
  if (bias_O_.defined()) grads.push_back(grad_TS.sum(0, false, bias_O_.scalar_type()));
  return grads;
}

}  // namespace snell::peft
