#include "snell/peft/sparsifier.h"

#include "snell/peft/quantile.h"

namespace snell::peft {

Sparsified KeepAll::operator()(const at::Tensor&, const at::Tensor&) const {
  return {};
}

Sparsified HardThreshold::operator()(const at::Tensor& merged_IO, const at::Tensor& threshold) const {
  at::Tensor magnitude_IO = merged_IO.abs();
  const at::Tensor cut = threshold.defined() ? threshold : matrix_quantile(magnitude_IO, sparsity_);
  // A product, not a selection: NaN times zero stays NaN, so a broken matrix is seen in the loss.
  const at::Tensor kept_IO = magnitude_IO > cut;
  return {magnitude_IO.mul_(kept_IO), cut};
}

Sparsified SoftThreshold::operator()(const at::Tensor& merged_IO, const at::Tensor& threshold) const {
  at::Tensor magnitude_IO = merged_IO.abs();
  const at::Tensor cut = threshold.defined() ? threshold : matrix_quantile(magnitude_IO, sparsity_);
  return {magnitude_IO.sub_(cut).clamp_min_(0), cut};
}

}  // namespace snell::peft
