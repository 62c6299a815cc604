// Small layers and helpers that the backbones share.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "snell/core/step_context.h"
#include "snell/nn/parameter.h"
#include "snell/nn/projection.h"

namespace snell::nn {

// Scale and shift after normalising the last dimension.
struct LayerNorm {
  at::Tensor weight_D, bias_D;
  double eps = 1e-6;
  LayerNorm(int64_t features, double eps, const TensorPlace& place);
  at::Tensor operator()(const at::Tensor& x) const { return as_prologue()(x); }
  Prologue as_prologue() const { return Prologue::layer_norm(weight_D, bias_D, eps); }
  void append_to(Parameters& out, const std::string& path) const;
};

// A convolution's parameters, [out, in / groups, side, side] and [out].
struct Conv {
  at::Tensor weight, bias;
  Conv(int64_t out_channels, int64_t in_channels_a_group, int64_t side, const TensorPlace& place);
  at::Tensor operator()(const at::Tensor& x_BCHW, int64_t stride, int64_t padding = 0, int64_t groups = 1) const;
  void append_to(Parameters& out, const std::string& path) const;
  // Where PyTorch draws a new convolution's weight and bias from: within ±1/√(fan-in).
  double default_bound() const;
};

// The spec of parent + "." + name, its out features cut evenly into `slices`.
ProjectionSpec projection_spec(const std::string& parent, const std::string& name, int64_t in_features,
                               int64_t out_features, bool bias, uint32_t layer, bool adapter_dropout,
                               const std::vector<std::string>& slices);

// x times the block's drop-path factors of this step; x itself where nothing is dropped. `site` numbers the place
// within the backbone.
at::Tensor drop_path(const at::Tensor& x, double rate, const core::StepContext& context, uint32_t site);

// Drop-path rate of block `index` of `depth`: from 0 to `last` linearly.
double drop_path_rate(double last, int64_t index, int64_t depth);

void append(Parameters& out, const Parameters& more);

}  // namespace snell::nn
