// Backbones of each kind that are small enough to train in a test.
#pragma once

#include <string>

#include "snell/nn/backbone.h"

namespace snell::peft {

inline nn::BackboneConfig small_backbone(const std::string& name) {
  nn::BackboneConfig config;
  config.name = name;
  config.drop_path = 0;
  config.image_size = name == "vit" ? 16 : 32;
  config.patch_size = name == "vit" ? 8 : 4;
  config.embed_dim = 24;
  config.num_heads = 2;
  config.depth = 2;
  config.depths = {1, 2};
  config.dims = {24, 48};
  config.window_size = 3;
  config.unbiased_norm = true;  // ConvNeXt's only norm that is not ATen's
  return config;
}

// Four pictures for it, [4, 3, side, side]: the same on every machine.
inline at::Tensor made_up_images(const nn::BackboneConfig& config, at::ScalarType dtype) {
  const int64_t side = config.image_size;
  return (at::arange(4 * 3 * side * side, at::kDouble) * 0.37).sin().view({4, 3, side, side}).to(dtype);
}

}  // namespace snell::peft
