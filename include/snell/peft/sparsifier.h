// Competition-based sparsifying (SNELL, arXiv 2411.01800, section 3.2): the entries of a merged matrix compete by
// magnitude, and only those beyond the s-quantile stay. No index is stored; the threshold is found anew at each merge.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>

namespace snell::peft {

// ΔW = K ⊙ scale, where `scale` is treated as a constant: dL/dK = dL/dΔW ⊙ scale.
struct Sparsified {
  at::Tensor scale_IO;   // undefined: all ones
  at::Tensor threshold;  // 0-d, q_s(|K|); undefined when there is none
};

class Sparsifier {
 public:
  virtual ~Sparsifier() = default;
  // `threshold`: the one that the forward pass found, or undefined to find it.
  virtual Sparsified operator()(const at::Tensor& merged_IO, const at::Tensor& threshold) const = 0;
};

// Everything stays: KLoRA.
class KeepAll : public Sparsifier {
 public:
  Sparsified operator()(const at::Tensor& merged_IO, const at::Tensor& threshold) const override;
};

// The published code's: scale = |K|·1[|K| > q_s(|K|)], so ΔW = K·|K| where it stays.
class HardThreshold : public Sparsifier {
 public:
  explicit HardThreshold(double sparsity) : sparsity_(sparsity) {}
  Sparsified operator()(const at::Tensor& merged_IO, const at::Tensor& threshold) const override;

 private:
  double sparsity_;
};

// The paper's (Eq. 5): scale = max(|K| − q_s(|K|), 0), at every s.
class SoftThreshold : public Sparsifier {
 public:
  explicit SoftThreshold(double sparsity) : sparsity_(sparsity) {}
  Sparsified operator()(const at::Tensor& merged_IO, const at::Tensor& threshold) const override;

 private:
  double sparsity_;
};

}  // namespace snell::peft
