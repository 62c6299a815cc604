// A tuned backbone with the settings and parameters that a fixture holds.
#pragma once

#include <cstring>

#include "snell/peft/tuning.h"
#include "support/fixtures.h"

namespace snell::test {

inline nn::BackboneConfig backbone_config(const Fixture& fixture) {
  nn::BackboneConfig backbone;
  backbone.image_size = fixture.number("img_size");
  backbone.drop_path = 0;
  if (fixture.source().metadata().contains("window_size")) {
    backbone.name = "swin";
    backbone.patch_size = fixture.number("patch_size");
    backbone.embed_dim = fixture.number("embed_dim");
    backbone.depths = fixture.setting("depths").get<std::vector<int64_t>>();
    backbone.num_heads = fixture.setting("num_heads").get<std::vector<int64_t>>().at(0);
    backbone.window_size = fixture.number("window_size");
    backbone.layer_norm_eps = 1e-5;
  } else if (fixture.source().metadata().contains("dims")) {
    backbone.name = "convnext";
    backbone.patch_size = 4;
    backbone.unbiased_norm = fixture.source().metadata().contains("tuning");  // numbers of the published SNELL code
    backbone.depths = fixture.setting("depths").get<std::vector<int64_t>>();
    backbone.dims = fixture.setting("dims").get<std::vector<int64_t>>();
  } else {
    backbone.patch_size = fixture.number("patch_size");
    backbone.embed_dim = fixture.number("embed_dim");
    backbone.depth = fixture.number("depth");
    backbone.num_heads = fixture.number("num_heads");
  }
  return backbone;
}

inline peft::TunedModel make_model(const Fixture& fixture, const std::string& adapter, int64_t num_classes,
                                   at::ScalarType dtype) {
  const nn::BackboneConfig backbone = backbone_config(fixture);
  peft::AdapterConfig config;
  config.name = adapter;
  config.rank = fixture.number("rank");
  config.sparsity = fixture.setting("threshold").get<double>();
  config.dropout = config.drop_path = 0;
  return peft::make_tuned_model(backbone, config, num_classes, 0, {dtype, at::kCPU});
}

// The name that the fixture has for one of our tensors: the published code's, where it is another than timm's.
inline std::string fixture_name(const Fixture& fixture, std::string name) {
  if (fixture.has("param." + name)) return name;
  for (const auto& [ours, theirs] :
       {std::pair{"stem.0.", "stem.proj."}, std::pair{"stem.1.", "stem.norm."},
        std::pair{".downsample.0.", ".downsample.norm."}, std::pair{".downsample.1.", ".downsample.proj."},
        std::pair{"layers.1.downsample.", "layers.0.downsample."}, std::pair{"head.fc.", "head."}}) {
    if (const auto at = name.find(ours); at != std::string::npos) name.replace(at, std::strlen(ours), theirs);
  }
  return name;
}

// Copies the parameters that the fixture keeps under `prefix` ("param." or "start."), q, k and v fused into qkv.
inline void load_parameters(peft::TunedModel& model, const Fixture& fixture, const std::string& prefix) {
  at::NoGradGuard no_grad;
  const auto copy = [&](const nn::Parameters& parameters) {
    for (auto& [name, tensor] : parameters) {
      at::Tensor target = tensor;
      const auto qkv = name.find(".qkv.");
      if (qkv != std::string::npos && !fixture.has(prefix + name)) {
        std::vector<at::Tensor> parts;
        for (const std::string part : {".q.", ".k.", ".v."}) {
          parts.push_back(fixture.tensor(prefix + name.substr(0, qkv) + part + name.substr(qkv + 5)));
        }
        target.copy_(at::cat(parts, 0));
      } else {
        target.copy_(fixture.tensor(prefix + fixture_name(fixture, name)));
      }
    }
  };
  copy(model.backbone->published());
  copy(model.backbone->adapters());
}

}  // namespace snell::test
