// Two matrices in a row, as LoRA and the bottleneck adapter have them: A [R, I], then B [O, R].
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>

#include "snell/nn/parameter.h"

namespace snell::peft {

class FactorPair {
 public:
  // Names as in the published code: `a_name` and `b_name` are "<path>.learnable.<index>.weight".
  FactorPair(const std::string& a_name, const std::string& b_name, int64_t in_features, int64_t out_features,
             int64_t rank, const nn::TensorPlace& place);
  // A Kaiming-uniform(a = √5), B zero: the branch adds nothing at the start.
  void init(uint64_t seed);
  const nn::Parameters& parameters() const { return parameters_; }  // A, B
  // Outside of the graph; those that compute with activations are in their type.
  at::Tensor a_RI() const { return parameters_[0].tensor.detach(); }
  at::Tensor b_OR() const { return parameters_[1].tensor.detach(); }
  at::Tensor a_RI(const at::Tensor& x) const { return nn::in_type_of(x, a_RI()); }
  at::Tensor b_OR(const at::Tensor& x) const { return nn::in_type_of(x, b_OR()); }

 private:
  nn::Parameters parameters_;
};

}  // namespace snell::peft
