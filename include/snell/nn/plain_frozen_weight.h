// The simplest FrozenWeight: the whole matrix, resident, in the compute type.
#pragma once

#include <torch/types.h>

#include "snell/core/frozen_weight.h"

namespace snell::nn {

class PlainFrozenWeight : public core::FrozenWeight {
 public:
  // `weight`: [out, in]; shared, not copied.
  explicit PlainFrozenWeight(at::Tensor weight) : weight_(std::move(weight)) {}
  int64_t out_features() const override { return weight_.size(0); }
  int64_t in_features() const override { return weight_.size(1); }
  int64_t resident_bytes() const override { return static_cast<int64_t>(weight_.nbytes()); }
  at::Tensor acquire() const override { return weight_; }
  void release() const override {}

 private:
  at::Tensor weight_;
};

}  // namespace snell::nn
