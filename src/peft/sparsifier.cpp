#include "snell/peft/sparsifier.h"

#include "snell/core/error.h"
#include "snell/peft/quantile.h"

namespace snell::peft {

void Sparsifier::set_sparsity(double) {
  throw core::Error("an adapter that keeps every entry has no sparsity to set");
}

Sparsified KeepAll::operator()(const at::Tensor&, const at::Tensor&) const {
  return {};
}

Sparsified QuantileSparsifier::operator()(const at::Tensor& merged_IO, const at::Tensor& threshold) const {
  at::Tensor magnitude_IO = merged_IO.abs();
  const at::Tensor cut = threshold.defined() ? threshold : matrix_quantile(magnitude_IO, sparsity_);
  return {scale(magnitude_IO, cut), cut};
}

void QuantileSparsifier::set_sparsity(double sparsity) {
  core::check(sparsity >= 0 && sparsity <= 1, core::str("a sparsity of ", sparsity));
  sparsity_ = sparsity;
}

at::Tensor HardThreshold::scale(at::Tensor& magnitude_IO, const at::Tensor& threshold) const {
  // A product, not a selection: NaN times zero stays NaN, so a broken matrix is seen in the loss.
  const at::Tensor kept_IO = magnitude_IO > threshold;
  return magnitude_IO.mul_(kept_IO);
}

at::Tensor SoftThreshold::scale(at::Tensor& magnitude_IO, const at::Tensor& threshold) const {
  return magnitude_IO.sub_(threshold).clamp_min_(0);
}

}  // namespace snell::peft
