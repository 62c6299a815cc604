// The bottleneck adapter beside a layer: B·gelu(A·x), B zero at the start. No matrix, so it cannot be merged.
#pragma once

#include "snell/peft/branch.h"
#include "snell/peft/factor_pair.h"

namespace snell::peft {

class BottleneckBranch : public Branch {
 public:
  BottleneckBranch(const std::string& path, int64_t in_features, int64_t out_features, int64_t rank,
                   const nn::TensorPlace& place)
      // Layer 1 of the published code's sequence is the GELU.
      : pair_(path + ".learnable.0.weight", path + ".learnable.2.weight", in_features, out_features, rank, place) {}
  const nn::Parameters& factors() const override { return pair_.parameters(); }
  void init(uint64_t seed) override { pair_.init(seed); }
  at::Tensor forward(const at::Tensor& x_TI, Kept& kept) const override;
  std::vector<at::Tensor> backward(const at::Tensor& x_TI, const at::Tensor& grad_TS, const Kept& kept,
                                   at::Tensor grad_x_TI) const override;

 private:
  FactorPair pair_;
};

}  // namespace snell::peft
