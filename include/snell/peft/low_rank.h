// LoRA (Hu et al., arXiv 2106.09685), as the published code has it: two linear layers in a row without a scale, the
// second one zero at the start; optionally with a bias on the second. ΔW = (B·A)ᵀ is formed only to be merged.
#pragma once

#include "snell/peft/branch.h"
#include "snell/peft/factor_pair.h"

namespace snell::peft {

// (x·Aᵀ)·Bᵀ + bias; keeps nothing between the passes. Within the weight it costs a thin GEMM of the weight's size; its
// gradients never take dL/dΔW.
class LowRankBranch : public Branch {
 public:
  LowRankBranch(const std::string& path, int64_t in_features, int64_t out_features, int64_t rank, bool with_bias,
                const nn::TensorPlace& place);
  const nn::Parameters& factors() const override { return factors_; }
  void init(uint64_t seed) override;
  at::Tensor forward(const at::Tensor& x_TI, Kept& kept) const override;
  void add_to(at::Tensor y_TS, const at::Tensor& x_TI, Kept& kept) const override;
  std::vector<at::Tensor> backward(const at::Tensor& x_TI, const at::Tensor& grad_TS, const Kept& kept,
                                   at::Tensor grad_x_TI) const override;
  bool merges_into_weight() const override { return true; }
  void merge_into(at::Tensor weight_SI, const at::Tensor& base_SI, Kept& kept) const override;
  at::Tensor merged() const override { return pair_.a_RI().t().mm(pair_.b_OR().t()); }
  at::Tensor bias() const override { return bias_O_.defined() ? bias_O_.detach() : bias_O_; }

 private:
  FactorPair pair_;
  at::Tensor bias_O_;
  nn::Parameters factors_;
};

}  // namespace snell::peft
