// Start values, drawn from the counter-based stream of (seed, the tensor's name): equal on every rank and whatever else
// the model holds.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>

namespace snell::nn {

// Uniform in [-bound, bound).
void init_uniform(at::Tensor& tensor, double bound, uint64_t seed, const std::string& name);
// Normal(0, std), as timm's trunc_normal_(std=0.02) in effect is (it cuts at ±2, a hundred standard deviations).
void init_normal(at::Tensor& tensor, double std, uint64_t seed, const std::string& name);

// What timm draws a new model's other tensors from: matrices and kernels normal(0, 0.02), biases zero, the norms'
// scales one.
void init_as_timm(at::Tensor& tensor, uint64_t seed, const std::string& name);

}  // namespace snell::nn
