// Projection groups: how adapters enter a backbone before it is built. A group is one input, one weight whose row slices
// are named (timm's attn.qkv.weight is one group of three slices; proj, fc1 and fc2 are groups of one), one dropout key,
// and one autograd function over all of its factors. Backbones ask an abstract factory for every group and never name an
// adapter; the default factory gives plain linear layers, frozen or trainable.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "snell/core/step_context.h"

namespace snell::nn {

// Rows [begin, end) of the group's weight, i.e. these output features.
struct ProjectionSlice {
  std::string name;  // "q", "k", "v", "proj", "fc1", "fc2": what adapter.targets selects
  std::string path;  // full name of the projection as adapters name it: "blocks.0.attn.q"
  int64_t begin = 0;
  int64_t end = 0;
};

struct ProjectionSpec {
  std::string path;  // "blocks.0.attn.qkv": the names of its tensors are path + ".weight", ".bias"
  int64_t in_features = 0;
  int64_t out_features = 0;
  bool bias = true;
  std::vector<ProjectionSlice> slices;  // cover [0, out_features) in order
  uint32_t layer = 0;                   // number of the group in the backbone: keys its random draws
  bool input_dropout = true;            // the recipe's adapter dropout applies to this group's input (not to proj)
};

// x: [..., in] -> [..., out]. Parameters that train are registered in the module under names relative to it.
class ProjectionGroup : public torch::nn::Module {
 public:
  explicit ProjectionGroup(ProjectionSpec spec) : spec_(std::move(spec)) {}
  virtual at::Tensor forward(const at::Tensor& x, const core::StepContextPtr& context) = 0;
  const ProjectionSpec& spec() const { return spec_; }

  // Where loading writes the published weight: [out, in], and [out] (undefined without a bias). Not gradients' business.
  virtual at::Tensor weight_storage() = 0;
  virtual at::Tensor bias_storage() = 0;

 private:
  ProjectionSpec spec_;
};

class ProjectionFactory {
 public:
  virtual ~ProjectionFactory() = default;
  virtual std::shared_ptr<ProjectionGroup> make(const ProjectionSpec& spec) = 0;
};

}  // namespace snell::nn
