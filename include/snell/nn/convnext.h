// ConvNeXt v1 (Liu et al., arXiv 2201.03545) with timm's parameter names, of any size by config. fc1 and fc2 are its
// projections; whether a file keeps them as matrices or as 1 x 1 convolutions (timm's conv_mlp) makes no difference.
#pragma once

#include <optional>
#include <vector>

#include "snell/nn/backbone.h"
#include "snell/nn/layers.h"

namespace snell::nn {

// x + drop_path(gamma · mlp(norm(depthwise 7 x 7 (x)))).
class ConvNextBlock {
 public:
  // `index`: among all blocks of the backbone.
  ConvNextBlock(const BackboneConfig& config, const std::string& path, int64_t features, int64_t index,
                double drop_path, const ProjectionFactory& factory, const TensorPlace& place);
  at::Tensor forward(const at::Tensor& x_BCHW, const core::StepContext& context) const;
  void append_published(Parameters& out) const;
  void append_adapters(Parameters& out) const;

 private:
  std::string path_;
  int64_t index_;
  double drop_path_;
  Conv depthwise_;
  LayerNorm norm_;
  at::Tensor gamma_C_;  // layer scale
  std::unique_ptr<ProjectionGroup> fc1_, fc2_;
};

class ConvNext : public Backbone {
 public:
  ConvNext(const BackboneConfig& config, int64_t num_classes, const ProjectionFactory& factory,
           const TensorPlace& place);
  at::Tensor forward_features(const at::Tensor& images_BCHW, const core::StepContext& context) const override;
  Parameters published() const override;
  Parameters adapters() const override;

 protected:
  void init_tensor(const std::string& name, at::Tensor& tensor, uint64_t seed) const override;

 private:
  // Before every stage but the first: half the height and width, the next number of features.
  struct Downsample {
    LayerNorm norm;
    Conv conv;
    bool unbiased;
    at::Tensor operator()(const at::Tensor& x_BCHW) const;
  };
  struct Stage {
    std::optional<Downsample> downsample;
    std::vector<ConvNextBlock> blocks;
  };
  BackboneConfig config_;
  Conv stem_;
  LayerNorm stem_norm_;
  std::vector<Stage> stages_;
  LayerNorm head_norm_;
};

}  // namespace snell::nn
