// Vision Transformer (Dosovitskiy et al., arXiv 2010.11929) with timm's parameter names, of any size by config.
#pragma once

#include <vector>

#include "snell/nn/backbone.h"
#include "snell/nn/layers.h"

namespace snell::nn {

// x + drop_path(attention(norm1(x))), then x + drop_path(mlp(norm2(x))).
class VitBlock {
 public:
  VitBlock(const BackboneConfig& config, int64_t index, const ProjectionFactory& factory, const TensorPlace& place);
  at::Tensor forward(const at::Tensor& x_BND, const core::StepContext& context) const;
  void append_published(Parameters& out) const;
  void append_adapters(Parameters& out) const;

 private:
  at::Tensor attention(const at::Tensor& x_BND, const core::StepContext& context) const;

  std::string path_;
  int64_t index_, num_heads_;
  double drop_path_;
  LayerNorm norm1_, norm2_;
  std::unique_ptr<ProjectionGroup> qkv_, proj_, fc1_, fc2_;
};

class Vit : public Backbone {
 public:
  Vit(const BackboneConfig& config, int64_t num_classes, const ProjectionFactory& factory, const TensorPlace& place);
  at::Tensor forward_features(const at::Tensor& images_BCHW, const core::StepContext& context) const override;
  Parameters published() const override;
  Parameters adapters() const override;
  void init_published(uint64_t seed) override;

 private:
  BackboneConfig config_;
  at::Tensor patch_weight_, patch_bias_;  // [D, C, P, P], [D]
  at::Tensor cls_token_, pos_embed_;      // [1, 1, D], [1, 1 + N, D]
  std::vector<VitBlock> blocks_;
  LayerNorm norm_;
};

}  // namespace snell::nn
