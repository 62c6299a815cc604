// Small tuned backbones whose adapters and layer scales are large enough to be seen in the logits.
#pragma once

#include <ATen/CPUGeneratorImpl.h>

#include <string>

#include "snell/peft/tuning.h"

namespace snell::test {

inline nn::BackboneConfig small_backbone(const std::string& name) {
  nn::BackboneConfig config;
  config.name = name;
  config.image_size = 32;
  config.drop_path = 0;
  if (name == "convnext") {
    config.patch_size = 4;
    config.depths = {1, 1, 2, 1};
    config.dims = {16, 24, 32, 48};
  } else if (name == "swin") {
    config.patch_size = 4;
    config.window_size = 2;
    config.embed_dim = 16;
    config.depths = {2, 2};
    config.num_heads = 2;
    config.layer_norm_eps = 1e-5;
  } else {
    config.patch_size = 8;
    config.embed_dim = 48;
    config.depth = 2;
    config.num_heads = 3;
  }
  return config;
}

// Values of a size at which an adapter of rank 8 changes a layer's output by some percent; the same for the same seed.
inline void randomise(const peft::TunedModel& model, uint64_t seed) {
  const at::NoGradGuard no_grad;
  auto generator = at::detail::createCPUGenerator(seed);
  const auto draw = [&](at::Tensor target, double mean, double deviation) {  // on any device the same
    target.copy_(at::empty(target.sizes(), target.scalar_type()).normal_(mean, deviation, generator));
  };
  for (auto& [name, tensor] : model.backbone->published()) {
    if (name.ends_with("gamma")) draw(tensor.detach(), 0.5, 0.1);
  }
  for (auto& [name, tensor] : model.backbone->adapters()) {
    if (tensor.numel() == 1) continue;  // the mixed kernel's scalars
    draw(tensor.detach(), 0, tensor.dim() == 3 ? 0.5 : 0.1);
  }
}

}  // namespace snell::test
