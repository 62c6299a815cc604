// A named tensor of a model. Tensors share storage with the model's own members, so writing through them is seen there;
// a frozen projection weight that a core::FrozenStorage keeps is published as its shape and type alone (meta device).
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

namespace snell::core {
class FrozenStorage;
}

namespace snell::nn {

struct Parameter {
  std::string name;   // full name, timm's for published weights: "blocks.0.attn.qkv.weight"
  at::Tensor tensor;  // requires_grad says whether it trains
};

using Parameters = std::vector<Parameter>;

// Type and place in which a model keeps its tensors. Activations have the type of the images that come in; a parameter
// of another type is converted where it is used (in_type_of).
struct TensorPlace {
  at::ScalarType dtype = at::kFloat;  // of what is frozen
  at::Device device = at::kCPU;
  std::shared_ptr<core::FrozenStorage> storage = nullptr;  // of frozen projection weights; null: plain tensors
  at::TensorOptions options() const { return at::TensorOptions().dtype(dtype).device(device); }
  // Of what trains: 16 bits would lose most updates, so float32 beside a 16-bit type; else the same type.
  at::ScalarType trainable_dtype() const { return at::promote_types(dtype, at::kFloat); }
  at::TensorOptions trainable_options() const { return options().dtype(trainable_dtype()); }
};

// `parameter`, which may be undefined, in the type of the activations `x`: itself where that is its own.
// Differentiable.
inline at::Tensor in_type_of(const at::Tensor& x, const at::Tensor& parameter) {
  return parameter.defined() ? parameter.to(x.scalar_type()) : parameter;
}

}  // namespace snell::nn
