// The bottleneck adapter beside a layer: B·gelu(A·x), B zero at the start. No matrix, so it cannot be merged.
#pragma once

#include "snell/peft/branch.h"

namespace snell::peft {

class BottleneckBranch : public Branch {
 public:
  BottleneckBranch(const std::string& path, int64_t in_features, int64_t out_features, int64_t rank,
                   const nn::TensorPlace& place);
  const nn::Parameters& factors() const override { return factors_; }
  // A Kaiming-uniform(a = √5), B zero.
  void init(uint64_t seed) override;
  at::Tensor forward(const at::Tensor& x_TI, at::Tensor& kept) const override;
  std::vector<at::Tensor> backward(const at::Tensor& x_TI, const at::Tensor& grad_TS, const at::Tensor& kept,
                                   at::Tensor grad_x_TI) const override;

 private:
  at::Tensor a_RI() const { return factors_[0].tensor.detach(); }
  at::Tensor b_OR() const { return factors_[1].tensor.detach(); }
  nn::Parameters factors_;
};

}  // namespace snell::peft
