// A named tensor of a model. Tensors share storage with the model's own members, so writing through them is seen there.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

namespace snell::nn {

struct Parameter {
  std::string name;   // full name, timm's for published weights: "blocks.0.attn.qkv.weight"
  at::Tensor tensor;  // requires_grad says whether it trains
};

using Parameters = std::vector<Parameter>;

// Type and place in which a model keeps its tensors.
struct TensorPlace {
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
  at::TensorOptions options() const { return at::TensorOptions().dtype(dtype).device(device); }
};

}  // namespace snell::nn
