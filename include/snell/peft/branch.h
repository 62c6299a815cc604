// What an adapter adds to one slice of a projection group: y += branch(x). Most are a matrix (a WeightDelta); some
// never form it (LoRA), and one is none at all (the bottleneck adapter).
// Legend: T rows (batch × tokens), I in features, S out features of the slice.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include "snell/nn/parameter.h"
#include "snell/peft/weight_delta.h"

namespace snell::peft {

// What a branch keeps from the forward to the backward pass of one call.
struct Kept {
  at::Tensor threshold;      // 0-d, so that it is found once; undefined: there is none
  bool keeps_delta = false;  // set by the caller: ΔW shall be kept, too
  at::Tensor delta_SI = {};  // ΔWᵀ of forward(), where it is kept
};

class Branch {
 public:
  virtual ~Branch() = default;
  // The trainable leaves under their full names; in the order of backward()'s gradients.
  virtual const nn::Parameters& factors() const = 0;
  virtual void init(uint64_t seed) = 0;

  // --- beside the frozen weight, where noise keeps the two apart ---

  // branch(x) [T, S] in the type of x, whatever the factors' type. Records no graph.
  virtual at::Tensor forward(const at::Tensor& x_TI, Kept& kept) const = 0;
  // y += branch(x).
  virtual void add_to(at::Tensor y_TS, const at::Tensor& x_TI, Kept& kept) const { y_TS.add_(forward(x_TI, kept)); }
  // Gradients of the factors, in their type or that of x, from dL/dbranch [T, S]; adds dL/dx to `grad_x_TI` where that
  // is defined.
  virtual std::vector<at::Tensor> backward(const at::Tensor& x_TI, const at::Tensor& grad_TS, const Kept& kept,
                                           at::Tensor grad_x_TI) const = 0;

  // --- within it: y = x·(W0 + ΔWᵀ)ᵀ, one GEMM ---

  virtual bool merges_into_weight() const { return false; }
  // weight = base + ΔWᵀ, both contiguous [S, I] and of one type. Only where it merges.
  virtual void merge_into(at::Tensor weight_SI, const at::Tensor& base_SI, Kept& kept) const;
  // The same as a job that can be done together with others'; nothing: merge_into does it.
  virtual std::optional<MergeJob> merge_job(at::Tensor, const at::Tensor&, const Kept&) const { return std::nullopt; }
  // Whether the factors' gradients come from dL/dΔWᵀ [S, I]. Otherwise they come from backward() without grad_x.
  virtual bool wants_weight_grad() const { return false; }
  virtual std::vector<at::Tensor> weight_backward(const at::Tensor& grad_SI, const Kept& kept) const;

  // ΔW [I, S], so that it can be merged into the frozen weight; undefined: the branch is no matrix.
  virtual at::Tensor merged() const { return {}; }
  // What merging adds to the layer's bias [S]; undefined: nothing.
  virtual at::Tensor bias() const { return {}; }
  // in · out of a ΔW whose entries can compete; 0: they cannot.
  virtual int64_t num_entries() const { return 0; }
  // Share of ΔW's entries that is zeroed. Setting it takes effect at the next forward pass, and throws Error where
  // entries do not compete; not between the passes of a step.
  virtual double sparsity() const { return 0; }
  virtual void set_sparsity(double sparsity);
};

// An adapter of a model under the name of its projection: "blocks.0.attn.q".
struct NamedBranch {
  std::string name;
  std::shared_ptr<Branch> branch;
};

// x·ΔW with a ΔW that is rebuilt in each pass.
class DeltaBranch : public Branch {
 public:
  explicit DeltaBranch(std::unique_ptr<WeightDelta> delta) : delta_(std::move(delta)) {}
  const nn::Parameters& factors() const override { return delta_->factors(); }
  void init(uint64_t seed) override { delta_->init(seed); }
  at::Tensor forward(const at::Tensor& x_TI, Kept& kept) const override;
  void add_to(at::Tensor y_TS, const at::Tensor& x_TI, Kept& kept) const override;
  std::vector<at::Tensor> backward(const at::Tensor& x_TI, const at::Tensor& grad_TS, const Kept& kept,
                                   at::Tensor grad_x_TI) const override;
  bool merges_into_weight() const override { return true; }
  void merge_into(at::Tensor weight_SI, const at::Tensor& base_SI, Kept& kept) const override {
    kept.threshold = delta_->merge_into(std::move(weight_SI), base_SI, kept.threshold);
  }
  std::optional<MergeJob> merge_job(at::Tensor weight_SI, const at::Tensor& base_SI, const Kept& kept) const override {
    return delta_->merge_job(std::move(weight_SI), base_SI, kept.threshold);
  }
  bool wants_weight_grad() const override { return true; }
  std::vector<at::Tensor> weight_backward(const at::Tensor& grad_SI, const Kept& kept) const override {
    return delta_->factor_grads(grad_SI, kept.threshold);
  }
  at::Tensor merged() const override;
  int64_t num_entries() const override { return delta_->num_entries(); }
  double sparsity() const override { return delta_->sparsity(); }
  void set_sparsity(double sparsity) override { delta_->set_sparsity(sparsity); }
  const WeightDelta& delta() const { return *delta_; }

 private:
  // ΔWᵀ [S, I] in the type of x.
  at::Tensor build(const at::Tensor& x_TI, at::Tensor& threshold) const;
  std::unique_ptr<WeightDelta> delta_;
};

}  // namespace snell::peft
