// Competition-based sparsifying (SNELL, arXiv 2411.01800, section 3.2): the entries of a merged matrix compete by
// magnitude, and only those beyond the s-quantile stay. No index is stored; the threshold is found anew at each merge.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>

#include "snell/peft/kernel_math.h"

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
  // The same rule for the fused road.
  virtual KeepRule rule() const = 0;
  // Share of entries that it zeroes; 0 for one that keeps everything.
  virtual double sparsity() const { return 0; }
  // Takes effect at the next merge; throws Error where everything is kept. Not while a pass is under way.
  virtual void set_sparsity(double sparsity);
};

// Everything stays: KLoRA.
class KeepAll : public Sparsifier {
 public:
  KeepRule rule() const override { return KeepRule::kAll; }
  Sparsified operator()(const at::Tensor& merged_IO, const at::Tensor& threshold) const override;
};

// Those that cut at q_s(|K|): they differ in the scale of what stays.
class QuantileSparsifier : public Sparsifier {
 public:
  explicit QuantileSparsifier(double sparsity) : sparsity_(sparsity) {}
  Sparsified operator()(const at::Tensor& merged_IO, const at::Tensor& threshold) const final;
  double sparsity() const final { return sparsity_; }
  void set_sparsity(double sparsity) final;

 private:
  // May write into magnitude_IO = |K|.
  virtual at::Tensor scale(at::Tensor& magnitude_IO, const at::Tensor& threshold) const = 0;
  double sparsity_;
};

// The published code's: scale = |K|·1[|K| > q_s(|K|)], so ΔW = K·|K| where it stays.
class HardThreshold : public QuantileSparsifier {
 public:
  using QuantileSparsifier::QuantileSparsifier;
  KeepRule rule() const override { return KeepRule::kHardThreshold; }

 private:
  at::Tensor scale(at::Tensor& magnitude_IO, const at::Tensor& threshold) const override;
};

// The paper's (Eq. 5): scale = max(|K| − q_s(|K|), 0), at every s.
class SoftThreshold : public QuantileSparsifier {
 public:
  using QuantileSparsifier::QuantileSparsifier;
  KeepRule rule() const override { return KeepRule::kSoftThreshold; }

 private:
  at::Tensor scale(at::Tensor& magnitude_IO, const at::Tensor& threshold) const override;
};

}  // namespace snell::peft
