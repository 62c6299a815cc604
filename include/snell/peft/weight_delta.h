// ΔW [in, out] of one projection, added as x·ΔW: composed of factors, a merge and a sparsifier.
// Legend: H heads, I in features, O out features, R columns a head.
#pragma once

#include <torch/types.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "snell/nn/parameter.h"
#include "snell/peft/fused.h"
#include "snell/peft/kernel.h"
#include "snell/peft/kernel_mix.h"
#include "snell/peft/sparsifier.h"

namespace snell::peft {

// What one merge out of ATen operations yields.
struct Merged {
  at::Tensor delta_IO;
  at::Tensor threshold;                  // kept from forward to backward (0-d); undefined when there is none
  at::Tensor scale_IO;                   // see Sparsified
  std::vector<at::Tensor> distances_IO;  // see DistanceKernel
  at::Tensor softmax_IO;                 // see KernelMix
};

struct MergeJob {
  FusedKernel kernel;
  FusedMatrix matrix;
};

class WeightDelta {
 public:
  virtual ~WeightDelta() = default;
  // The trainable leaves under their full names; in the order of factor_grads().
  virtual const nn::Parameters& factors() const = 0;
  // [in, out] of ΔW.
  virtual std::pair<int64_t, int64_t> shape() const = 0;
  // weight = base + ΔWᵀ, both contiguous [O, I] and of one type; base undefined: ΔWᵀ alone. `threshold` as found by an
  // earlier merge of the same factors, or undefined; returns it (undefined: there is none). Records no graph.
  virtual at::Tensor merge_into(at::Tensor weight_OI, const at::Tensor& base_OI, const at::Tensor& threshold) const = 0;
  // The same as a job for fused_merge, so that the matrices of a group are merged together; nothing: it takes another
  // road.
  virtual std::optional<MergeJob> merge_job(at::Tensor weight_OI, const at::Tensor& base_OI,
                                            const at::Tensor& threshold) const = 0;
  // dL/dfactor for each factor, from dL/dΔWᵀ [O, I], contiguous and of any type.
  virtual std::vector<at::Tensor> factor_grads(const at::Tensor& grad_OI, const at::Tensor& threshold) const = 0;
  virtual void init(uint64_t seed) = 0;
  // in · out.
  virtual int64_t num_entries() const = 0;
  // See Sparsifier.
  virtual double sparsity() const = 0;
  virtual void set_sparsity(double sparsity) = 0;
};

// Two factors merged by a distance kernel: klora (KeepAll), snell (HardThreshold or SoftThreshold), and with three more
// scalars mixk and snella.
class KernelDelta : public WeightDelta {
 public:
  struct Shape {
    int64_t in_features = 0, out_features = 0;
    int64_t rank = 32;  // columns of both factors over all heads
    int64_t heads = 2;
    double norm_p = 2;
    bool mixed = false;  // see KernelMix
  };
  // `path`: what the factors' names begin with, as in the published code: "blocks.0.attn.additional_q".
  KernelDelta(const std::string& path, const Shape& shape, std::unique_ptr<Sparsifier> sparsifier,
              const nn::TensorPlace& place);

  const nn::Parameters& factors() const override { return factors_; }
  std::pair<int64_t, int64_t> shape() const override { return {in_HIR().size(1), out_HOR().size(1)}; }
  at::Tensor merge_into(at::Tensor weight_OI, const at::Tensor& base_OI, const at::Tensor& threshold) const override;
  std::optional<MergeJob> merge_job(at::Tensor weight_OI, const at::Tensor& base_OI,
                                    const at::Tensor& threshold) const override;
  std::vector<at::Tensor> factor_grads(const at::Tensor& grad_OI, const at::Tensor& threshold) const override;

  // The same out of ATen operations, on any device and for any norm: what the fused road is checked against, and what
  // serves where that does not exist (see fused.h) and for mixed kernels.
  Merged merge(const at::Tensor& threshold) const;
  std::vector<at::Tensor> factor_grads(const Merged& merged, const at::Tensor& grad_delta_IO) const;

  FusedKernel fused_kernel() const { return {kernel_.norm_p(), sparsifier_->rule()}; }
  // Kaiming-uniform(a = √5) on the three-dimensional factors, whose fan-in is rows · columns.
  void init(uint64_t seed) override;
  int64_t num_entries() const override { return in_HIR().size(1) * out_HOR().size(1); }
  double sparsity() const override { return sparsifier_->sparsity(); }
  void set_sparsity(double sparsity) override { sparsifier_->set_sparsity(sparsity); }

 private:
  bool takes_fused_road() const { return !mix_ && fused_road_exists(factors_[0].tensor, kernel_.norm_p()); }
  at::Tensor in_HIR() const { return factors_[0].tensor.detach(); }
  at::Tensor out_HOR() const { return factors_[1].tensor.detach(); }

  nn::Parameters factors_;
  DistanceKernel kernel_;
  std::optional<KernelMix> mix_;
  std::unique_ptr<Sparsifier> sparsifier_;
};

}  // namespace snell::peft
