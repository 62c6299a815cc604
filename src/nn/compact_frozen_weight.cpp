#include "snell/nn/compact_frozen_weight.h"

#include <ATen/Parallel.h>

#include "snell/core/error.h"

namespace snell::nn {
namespace {

constexpr double kLargest = 127;  // -128 stays unused, so that a weight's sign costs nothing

at::Tensor zeros(const core::FrozenSpec& spec, int64_t columns, at::ScalarType dtype, const TensorPlace& place) {
  return at::zeros({spec.out_features, columns}, at::TensorOptions(dtype).device(place.device));
}

// In one pass, where LibTorch's operations would go through the matrix twice.
void scale_rows(const int8_t* stored, const float* scales, float* out, int64_t rows, int64_t columns) {
  constexpr int64_t kEntriesATask = 1 << 16;
  const int64_t rows_a_task = std::max<int64_t>(1, kEntriesATask / std::max<int64_t>(1, columns));
  at::parallel_for(0, rows, rows_a_task, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float scale = scales[row];
      const int8_t* from = stored + row * columns;
      float* to = out + row * columns;
      for (int64_t i = 0; i < columns; ++i) to[i] = static_cast<float>(from[i]) * scale;
    }
  });
}

}  // namespace

Bfloat16Weight::Bfloat16Weight(const core::FrozenSpec& spec, const TensorPlace& place)
    : dtype_(place.dtype), stored_OI_(zeros(spec, spec.in_features, at::kBFloat16, place)) {}

void Bfloat16Weight::set(const at::Tensor& weight_OI) {
  const at::NoGradGuard no_grad;
  stored_OI_.copy_(weight_OI);
}

int64_t Bfloat16Weight::resident_bytes() const {
  return static_cast<int64_t>(stored_OI_.nbytes());
}

at::Tensor Bfloat16Weight::acquire() const {
  return stored_OI_.to(dtype_);
}

Int8Weight::Int8Weight(const core::FrozenSpec& spec, const TensorPlace& place)
    : name_(spec.name),
      dtype_(place.dtype),
      stored_OI_(zeros(spec, spec.in_features, at::kChar, place)),
      scale_O1_(zeros(spec, 1, at::kFloat, place)) {}

void Int8Weight::set(const at::Tensor& weight_OI) {
  if (stored_OI_.is_meta()) return;
  const at::NoGradGuard no_grad;
  const at::Tensor weight = weight_OI.to(stored_OI_.device(), at::promote_types(weight_OI.scalar_type(), at::kFloat));
  // Narrowed before it divides: what acquire() will multiply by.
  const at::Tensor scale_O1 =
      at::linalg_vector_norm(weight, std::numeric_limits<double>::infinity(), at::IntArrayRef{1}, /*keepdim=*/true)
          .div_(kLargest)
          .to(at::kFloat);
  if (!at::isfinite(scale_O1).all().item<bool>()) {
    throw core::WeightsError(core::str(name_, " holds numbers that are not finite (or beyond float32), which int8 ",
                                       "cannot keep; fetch the file again, or set backbone.frozen_storage=plain"));
  }
  const at::Tensor divisor_O1 = at::where(scale_O1 > 0, scale_O1, 1.0F);
  stored_OI_.copy_((weight / divisor_O1).round_().clamp_(-kLargest, kLargest));
  scale_O1_.copy_(scale_O1);
}

int64_t Int8Weight::resident_bytes() const {
  return static_cast<int64_t>(stored_OI_.nbytes() + scale_O1_.nbytes());
}

at::Tensor Int8Weight::acquire() const {
  if (dtype_ != at::kFloat || stored_OI_.is_cuda()) {
    return stored_OI_.to(at::promote_types(dtype_, at::kFloat)).mul_(scale_O1_).to(dtype_);
  }
  at::Tensor weight_OI = at::empty(stored_OI_.sizes(), scale_O1_.options());
  if (weight_OI.is_meta()) return weight_OI;  // the memory that it takes is all that is wanted (snell plan)
  scale_rows(stored_OI_.const_data_ptr<int8_t>(), scale_O1_.const_data_ptr<float>(),
             weight_OI.mutable_data_ptr<float>(), stored_OI_.size(0), stored_OI_.size(1));
  return weight_OI;
}

}  // namespace snell::nn
