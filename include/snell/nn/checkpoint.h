// Activation checkpointing of a block: of all that it computes, only its input is kept; the backward pass runs the
// block once more. Random draws are functions of the step and the sample, so the second run sees the same masks.
#pragma once

#include <torch/types.h>

#include <functional>

#include "snell/nn/parameter.h"

namespace snell::nn {

using BlockFunction = std::function<at::Tensor(const at::Tensor&)>;

// block(x), kept as x alone. `parameters` are all that the block reads; those that train are told to autograd, so that
// their hooks fire once, after the second run. `block` must outlive the backward pass. Where nothing is recorded it is
// a plain call.
at::Tensor checkpoint(const BlockFunction& block, const at::Tensor& x, const Parameters& parameters);

}  // namespace snell::nn
