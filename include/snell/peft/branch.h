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

class Branch {
 public:
  virtual ~Branch() = default;
  // The trainable leaves under their full names; in the order of backward()'s gradients.
  virtual const nn::Parameters& factors() const = 0;
  virtual void init(uint64_t seed) = 0;

  // branch(x) [T, S] in the type of x, whatever the factors' type. `kept`: a small tensor from forward to backward of
  // one call (a threshold), or undefined. Records no graph.
  virtual at::Tensor forward(const at::Tensor& x_TI, at::Tensor& kept) const = 0;
  // y += branch(x).
  virtual void add_to(at::Tensor y_TS, const at::Tensor& x_TI, at::Tensor& kept) const {
    y_TS.add_(forward(x_TI, kept));
  }
  // Gradients of the factors, in their type or that of x, from dL/dbranch [T, S]; adds dL/dx to `grad_x_TI` where that
  // is defined.
  virtual std::vector<at::Tensor> backward(const at::Tensor& x_TI, const at::Tensor& grad_TS, const at::Tensor& kept,
                                           at::Tensor grad_x_TI) const = 0;

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
  at::Tensor forward(const at::Tensor& x_TI, at::Tensor& kept) const override;
  void add_to(at::Tensor y_TS, const at::Tensor& x_TI, at::Tensor& kept) const override;
  std::vector<at::Tensor> backward(const at::Tensor& x_TI, const at::Tensor& grad_TS, const at::Tensor& kept,
                                   at::Tensor grad_x_TI) const override;
  at::Tensor merged() const override { return delta_->merge({}).delta_IO; }
  int64_t num_entries() const override { return delta_->num_entries(); }
  double sparsity() const override { return delta_->sparsity(); }
  void set_sparsity(double sparsity) override { delta_->set_sparsity(sparsity); }
  const WeightDelta& delta() const { return *delta_; }

 private:
  std::unique_ptr<WeightDelta> delta_;
};

}  // namespace snell::peft
