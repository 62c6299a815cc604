// A projection group whose slices carry adapters: y = x·W0ᵀ + b + drop_path(branch(drop(x))), branch(x) = x·ΔW for
// most, as one autograd function over the input and all factors. It stores its input as it was before the prologue and
// one threshold a slice; the prologue, ΔW and the dropout masks are worked out again in the backward pass. Where no
// noise keeps ΔW apart, and the activations have at least 32 bits (16 would round most of ΔW away beside W0), it is one
// GEMM with W0 + ΔWᵀ.
#pragma once

#include <memory>
#include <vector>

#include "snell/core/frozen_weight.h"
#include "snell/nn/projection.h"
#include "snell/peft/branch.h"

namespace snell::peft {

struct AdaptedSlice {
  int64_t begin = 0, end = 0;  // output features
  std::shared_ptr<Branch> branch;
};

// Whether the group keeps what it built out of its factors from the forward to the backward pass: a matrix of the
// weight's size, in exchange for building it once a step. Decided when all groups are known, hence shared.
using KeepsDelta = std::shared_ptr<bool>;

struct AdapterNoise {
  double dropout = 0;    // on the adapter's input; one mask shared by the group's slices
  double drop_path = 0;  // a sample, on each slice's output
};

class AdaptedProjection : public nn::ProjectionGroup {
 public:
  AdaptedProjection(const nn::ProjectionSpec& spec, std::vector<AdaptedSlice> slices, const AdapterNoise& noise,
                    const nn::TensorPlace& place, KeepsDelta keeps_delta = std::make_shared<bool>(false));
  at::Tensor forward(const at::Tensor& x, const core::StepContext& context,
                     const nn::Prologue& prologue = {}) const override;
  nn::Parameters published() const override;
  nn::Parameters adapters() const override;

  struct State;  // shared with the backward passes under way

 private:
  std::shared_ptr<const State> state_;
};

}  // namespace snell::peft
