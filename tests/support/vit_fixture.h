// A SNELL-tuned ViT with the settings and parameters that a fixture holds.
#pragma once

#include "snell/peft/tuning.h"
#include "support/fixtures.h"

namespace snell::test {

inline peft::TunedModel make_vit(const Fixture& fixture, const std::string& adapter, int64_t num_classes,
                                 at::ScalarType dtype) {
  nn::BackboneConfig backbone;
  backbone.image_size = fixture.number("img_size");
  backbone.patch_size = fixture.number("patch_size");
  backbone.embed_dim = fixture.number("embed_dim");
  backbone.depth = fixture.number("depth");
  backbone.num_heads = fixture.number("num_heads");
  backbone.drop_path = 0;
  peft::AdapterConfig config;
  config.name = adapter;
  config.rank = fixture.number("rank");
  config.sparsity = fixture.setting("threshold").get<double>();
  config.dropout = config.drop_path = 0;
  return peft::make_tuned_model(backbone, config, num_classes, 0, {dtype, at::kCPU});
}

// Copies the parameters that the fixture keeps under `prefix` ("param." or "start."), q, k and v fused into qkv.
inline void load_parameters(peft::TunedModel& model, const Fixture& fixture, const std::string& prefix) {
  at::NoGradGuard no_grad;
  const auto copy = [&](const nn::Parameters& parameters) {
    for (auto& [name, tensor] : parameters) {
      at::Tensor target = tensor;
      if (const auto qkv = name.find(".qkv."); qkv != std::string::npos) {
        std::vector<at::Tensor> parts;
        for (const std::string part : {".q.", ".k.", ".v."}) {
          parts.push_back(fixture.tensor(prefix + name.substr(0, qkv) + part + name.substr(qkv + 5)));
        }
        target.copy_(at::cat(parts, 0));
      } else {
        target.copy_(fixture.tensor(prefix + name));
      }
    }
  };
  copy(model.backbone->published());
  copy(model.backbone->adapters());
}

}  // namespace snell::test
