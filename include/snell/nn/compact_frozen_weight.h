// Frozen weights that are kept smaller than they are used. Each acquire() makes the matrix in the compute type, a new
// tensor that is freed with its last user; so at any time there are as many of them as are in use, and the block of
// memory goes from one layer to the next (train/tensor_memory.h). On the device that the place names.
// Legend: O out features, I in features.
#pragma once

#include <torch/types.h>

#include <string>

#include "snell/core/frozen_storage.h"
#include "snell/nn/parameter.h"

namespace snell::nn {

// bfloat16, rounded to nearest even when set: 8 bits of precision, float32's range. Exact for weights that were
// bfloat16 before.
class Bfloat16Weight : public core::StoredWeight {
 public:
  // Zeros until set.
  Bfloat16Weight(const core::FrozenSpec& spec, const TensorPlace& place);
  void set(const at::Tensor& weight_OI) override;
  int64_t out_features() const override { return stored_OI_.size(0); }
  int64_t in_features() const override { return stored_OI_.size(1); }
  int64_t resident_bytes() const override;
  at::Tensor acquire() const override;
  void release() const override {}

 private:
  at::ScalarType dtype_;
  at::Tensor stored_OI_;
};

// int8 with one float32 scale an output feature (a row): scale = max|row| / 127, stored = round(row / scale), to the
// nearest and the even one of two; a row of zeros has the scale 0. So an entry is off by at most half its row's scale.
class Int8Weight : public core::StoredWeight {
 public:
  // Zeros until set.
  Int8Weight(const core::FrozenSpec& spec, const TensorPlace& place);
  // Throws WeightsError where an entry is not finite.
  void set(const at::Tensor& weight_OI) override;
  int64_t out_features() const override { return stored_OI_.size(0); }
  int64_t in_features() const override { return stored_OI_.size(1); }
  int64_t resident_bytes() const override;
  at::Tensor acquire() const override;
  void release() const override {}
  // [out, 1], float32.
  const at::Tensor& scales() const { return scale_O1_; }

 private:
  std::string name_;
  at::ScalarType dtype_;
  at::Tensor stored_OI_, scale_O1_;
};

}  // namespace snell::nn
