#include "snell/nn/ignored_settings.h"

#include <algorithm>

#include "snell/core/text.h"

namespace snell::nn {

std::vector<std::string> ignored_settings(const BackboneConfig& config) {
  const BackboneConfig usual;
  const std::vector<std::string> vit{"vit"}, swin{"swin"}, convnext{"convnext"}, attention{"swin", "vit"},
      stages{"convnext", "swin"};
  std::vector<std::string> ignored;
  const auto look = [&](const std::string& setting, auto BackboneConfig::*field,
                        const std::vector<std::string>& users) {
    if (config.*field == usual.*field || std::ranges::find(users, config.name) != users.end()) return;
    ignored.push_back(core::str("backbone.", setting, " (used by ", core::join(users), ")"));
  };
  look("embed_dim", &BackboneConfig::embed_dim, attention);
  look("depth", &BackboneConfig::depth, vit);
  look("num_heads", &BackboneConfig::num_heads, attention);
  look("qkv_bias", &BackboneConfig::qkv_bias, attention);
  look("global_pool", &BackboneConfig::global_pool, vit);
  look("class_token", &BackboneConfig::class_token, vit);
  look("reg_tokens", &BackboneConfig::reg_tokens, vit);
  look("no_embed_class", &BackboneConfig::no_embed_class, vit);
  look("init_values", &BackboneConfig::init_values, vit);
  look("mlp", &BackboneConfig::mlp, vit);
  look("representation_size", &BackboneConfig::representation_size, vit);
  look("depths", &BackboneConfig::depths, stages);
  look("dims", &BackboneConfig::dims, convnext);
  look("unbiased_norm", &BackboneConfig::unbiased_norm, convnext);
  look("window_size", &BackboneConfig::window_size, swin);
  return ignored;
}

}  // namespace snell::nn
