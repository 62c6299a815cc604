// Vision Transformer (Dosovitskiy et al., arXiv 2010.11929) with timm's parameter names, of any size by config: with a
// class token or average pooling, and with what DINOv2 (Oquab et al., arXiv 2304.07193; registers: Darcet et al., arXiv
// 2309.16588) adds: layer scale, register tokens, a SwiGLU MLP.
#pragma once

#include <optional>
#include <vector>

#include "snell/nn/backbone.h"
#include "snell/nn/layers.h"

namespace snell::nn {

// x + drop_path(ls1 · attention(norm1(x))), then x + drop_path(ls2 · mlp(norm2(x))).
class VitBlock {
 public:
  VitBlock(const BackboneConfig& config, int64_t index, const ProjectionFactory& factory, const TensorPlace& place);
  at::Tensor forward(const at::Tensor& x_BND, const core::StepContext& context) const;
  void append_published(Parameters& out) const;
  void append_adapters(Parameters& out) const;

 private:
  // Each of the residual stream: the norm before it is the first projection's prologue.
  at::Tensor attention(const at::Tensor& x_BND, const core::StepContext& context) const;
  at::Tensor mlp(const at::Tensor& x_BND, const core::StepContext& context) const;

  std::string path_;
  int64_t index_, num_heads_;
  double drop_path_;
  bool swiglu_;
  LayerNorm norm1_, norm2_;
  at::Tensor scale1_D_, scale2_D_;  // undefined: no layer scale
  std::unique_ptr<ProjectionGroup> qkv_, proj_, fc1_, fc2_;
};

class Vit : public Backbone {
 public:
  Vit(const BackboneConfig& config, int64_t num_classes, const ProjectionFactory& factory, const TensorPlace& place);
  at::Tensor forward_features(const at::Tensor& images_BCHW, const core::StepContext& context) const override;
  Parameters published() const override;
  Parameters adapters() const override;
  int64_t pos_embed_prefix_tokens() const override { return config_.no_embed_class ? 0 : prefix_tokens(); }

 protected:
  void init_tensor(const std::string& name, at::Tensor& tensor, uint64_t seed) const override;

 private:
  int64_t prefix_tokens() const { return (config_.class_token ? 1 : 0) + config_.reg_tokens; }
  // The prefix tokens and the patches, with position embedding.
  at::Tensor embed(const at::Tensor& images_BCHW) const;

  BackboneConfig config_;
  at::Tensor cls_token_, reg_token_;  // [1, 1, D], [1, R, D]; undefined: none
  at::Tensor pos_embed_;              // [1, prefix tokens that have one + patches, D]
  Conv patch_;
  std::vector<VitBlock> blocks_;
  LayerNorm norm_;
  at::Tensor pre_logits_weight_, pre_logits_bias_;  // [representation size, D]; undefined: none
};

}  // namespace snell::nn
