// Projection groups: how adapters enter a backbone before it is built. A group is one input, one weight whose row
// slices are named (timm's attn.qkv.weight is one group of three slices; proj, fc1 and fc2 are groups of one), one
// dropout key, and one autograd function over all of its factors. Backbones ask an abstract factory for every group and
// never name an adapter; the factories here give plain linear layers, frozen or trainable.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "snell/core/step_context.h"
#include "snell/nn/parameter.h"
#include "snell/nn/prologue.h"

namespace snell::nn {

// Rows [begin, end) of the group's weight, i.e. these output features.
struct ProjectionSlice {
  std::string name;    // "q", "k", "v", "proj", "fc1", "fc2": what adapter.targets selects
  std::string parent;  // full name of the layer that holds it: "blocks.0.attn"
  int64_t begin = 0;
  int64_t end = 0;
};

struct ProjectionSpec {
  std::string path;  // "blocks.0.attn.qkv": its published tensors are path + ".weight" and path + ".bias"
  int64_t in_features = 0;
  int64_t out_features = 0;
  bool bias = true;
  std::vector<ProjectionSlice> slices;  // cover [0, out_features) in order
  uint32_t layer = 0;                   // number of the group in the backbone: keys its random draws
  bool adapter_dropout = true;          // whether the recipe drops the adapter's input here (it does not in proj)
};

class ProjectionGroup {
 public:
  virtual ~ProjectionGroup() = default;
  // x: [B, ..., in] -> [B, ..., out] of what `prologue` makes of x.
  virtual at::Tensor forward(const at::Tensor& x, const core::StepContext& context,
                             const Prologue& prologue = {}) const = 0;
  // The published weight [out, in] and bias [out]: where loading writes.
  virtual Parameters published() const = 0;
  // What the group adds to the published model; empty for a plain layer.
  virtual Parameters adapters() const { return {}; }
};

class ProjectionFactory {
 public:
  virtual ~ProjectionFactory() = default;
  virtual std::unique_ptr<ProjectionGroup> make(const ProjectionSpec& spec, const TensorPlace& place) const = 0;
};

// Plain linear layers: all trainable (pre-training, full fine-tuning), or all frozen behind a FrozenWeight handle.
class LinearFactory : public ProjectionFactory {
 public:
  explicit LinearFactory(bool trainable) : trainable_(trainable) {}
  std::unique_ptr<ProjectionGroup> make(const ProjectionSpec& spec, const TensorPlace& place) const override;

 private:
  bool trainable_;
};

}  // namespace snell::nn
