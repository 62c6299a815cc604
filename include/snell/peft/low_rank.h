// LoRA (Hu et al., arXiv 2106.09685), as the published code has it: two linear layers in a row without a scale, the
// second one zero at the start; optionally with a bias on the second.
#pragma once

#include "snell/peft/branch.h"

namespace snell::peft {

// ΔW = (B·A)ᵀ with A [R, I] and B [O, R].
class LowRankDelta : public WeightDelta {
 public:
  LowRankDelta(const std::string& path, int64_t in_features, int64_t out_features, int64_t rank,
               const nn::TensorPlace& place);
  const nn::Parameters& factors() const override { return factors_; }
  Merged merge(const at::Tensor& threshold) const override;
  std::vector<at::Tensor> factor_grads(const Merged& merged, const at::Tensor& grad_delta_IO) const override;
  // A Kaiming-uniform(a = √5), B zero.
  void init(uint64_t seed) override;
  double sparsity() const override { return 0; }

  at::Tensor a_RI() const { return factors_[0].tensor.detach(); }
  at::Tensor b_OR() const { return factors_[1].tensor.detach(); }

 private:
  nn::Parameters factors_;
};

// (x·Aᵀ)·Bᵀ + bias, without forming ΔW; keeps nothing between the passes.
class LowRankBranch : public Branch {
 public:
  LowRankBranch(const std::string& path, int64_t in_features, int64_t out_features, int64_t rank, bool with_bias,
                const nn::TensorPlace& place);
  const nn::Parameters& factors() const override { return factors_; }
  void init(uint64_t seed) override;
  at::Tensor forward(const at::Tensor& x_TI, at::Tensor& kept) const override;
  void add_to(at::Tensor y_TS, const at::Tensor& x_TI, at::Tensor& kept) const override;
  std::vector<at::Tensor> backward(const at::Tensor& x_TI, const at::Tensor& grad_TS, const at::Tensor& kept,
                                   at::Tensor grad_x_TI) const override;
  const WeightDelta* delta() const override { return &delta_; }
  at::Tensor bias() const override { return bias_O_.defined() ? bias_O_.detach() : bias_O_; }

 private:
  LowRankDelta delta_;
  at::Tensor bias_O_;
  nn::Parameters factors_;
};

}  // namespace snell::peft
