// Swin Transformer v1 (Liu et al., arXiv 2103.14030) with timm's parameter names, of any size by config. A stage has
// twice the features and heads of the one before and half its height and width. Where a stage's map is smaller than the
// window, the window is the map and nothing is shifted; a map that is no multiple of the window is padded, both as timm
// does.
#pragma once

#include <memory>
#include <vector>

#include "snell/nn/backbone.h"
#include "snell/nn/layers.h"
#include "snell/nn/windows.h"

namespace snell::nn {

// x + drop_path(windowed attention(norm1(x))), then x + drop_path(mlp(norm2(x))).
class SwinBlock {
 public:
  struct Shape {
    int64_t features, num_heads;
    int64_t map_side;  // height and width of the stage's map
    int64_t index;     // among all blocks of the backbone
    double drop_path;
    bool shifted;
  };
  SwinBlock(const BackboneConfig& config, const std::string& path, const Shape& shape, const ProjectionFactory& factory,
            const TensorPlace& place);
  at::Tensor forward(const at::Tensor& x_BHWC, const core::StepContext& context) const;
  void append_published(Parameters& out) const;
  void append_adapters(Parameters& out) const;

 private:
  at::Tensor attention(const at::Tensor& x_BVNC, const core::StepContext& context) const;
  // What is added to the scores: [1 or B · V, heads, N, N].
  at::Tensor score_bias(int64_t batch) const;

  std::string path_;
  Shape shape_;
  Windows windows_;
  LayerNorm norm1_, norm2_;
  at::Tensor bias_table_;  // [(2 S - 1)², heads]
  at::Tensor bias_index_;  // [N · N], computed
  at::Tensor mask_VNN_;    // computed; undefined where nothing is shifted
  std::unique_ptr<ProjectionGroup> qkv_, proj_, fc1_, fc2_;
};

class Swin : public Backbone {
 public:
  Swin(const BackboneConfig& config, int64_t num_classes, const ProjectionFactory& factory, const TensorPlace& place);
  at::Tensor forward_features(const at::Tensor& images_BCHW, const core::StepContext& context) const override;
  Parameters published() const override;
  Parameters adapters() const override;

 protected:
  void init_tensor(const std::string& name, at::Tensor& tensor, uint64_t seed) const override;

 private:
  // Before every stage but the first: 2 x 2 neighbours become one token.
  struct Merging {
    LayerNorm norm;
    std::unique_ptr<ProjectionGroup> reduction;
    at::Tensor forward(const at::Tensor& x_BHWC, const core::StepContext& context) const;
  };
  struct Stage {
    std::unique_ptr<Merging> merging;  // none in the first
    std::vector<SwinBlock> blocks;
  };
  BackboneConfig config_;
  Conv patch_;
  LayerNorm patch_norm_;
  std::vector<Stage> stages_;
  LayerNorm norm_;
};

}  // namespace snell::nn
