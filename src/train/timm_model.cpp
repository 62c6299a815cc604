#include "snell/train/timm_model.h"

#include <cmath>
#include <limits>
#include <vector>

#include "snell/core/error.h"

namespace snell::train {
namespace {

using core::ConfigError;
using core::str;
using nlohmann::ordered_json;

// An architecture of timm with the arguments in which it differs from its family's usual ones.
struct Known {
  std::string name;
  ordered_json arguments;
};

const ordered_json kVitUsual{{"img_size", 224},  {"patch_size", 16}, {"in_chans", 3},
                             {"embed_dim", 768}, {"depth", 12},      {"num_heads", 12},
                             {"mlp_ratio", 4.0}, {"qkv_bias", true}, {"global_pool", "token"}};

const std::vector<Known>& known_vits() {
  static const ordered_json tiny{{"embed_dim", 192}, {"num_heads", 3}}, small{{"embed_dim", 384}, {"num_heads", 6}},
      large{{"embed_dim", 1024}, {"depth", 24}, {"num_heads", 16}};
  static const auto with = [](ordered_json arguments, const ordered_json& more) {
    arguments.update(more);
    return arguments;
  };
  static const std::vector<Known> known{
      {"vit_tiny_patch16_224", tiny},
      {"vit_tiny_patch16_384", with(tiny, {{"img_size", 384}})},
      {"vit_small_patch16_224", small},
      {"vit_small_patch16_384", with(small, {{"img_size", 384}})},
      {"vit_small_patch32_224", with(small, {{"patch_size", 32}})},
      {"vit_small_patch8_224", with(small, {{"patch_size", 8}})},
      {"vit_base_patch16_224", ordered_json::object()},
      {"vit_base_patch16_384", {{"img_size", 384}}},
      {"vit_base_patch32_224", {{"patch_size", 32}}},
      {"vit_base_patch8_224", {{"patch_size", 8}}},
      {"vit_large_patch16_224", large},
      {"vit_large_patch16_384", with(large, {{"img_size", 384}})},
      {"vit_large_patch32_224", with(large, {{"patch_size", 32}})},
      {"vit_large_patch14_224", with(large, {{"patch_size", 14}})},
      {"vit_huge_patch14_224", {{"patch_size", 14}, {"embed_dim", 1280}, {"depth", 32}, {"num_heads", 16}}},
      {"vit_giant_patch14_224",
       {{"patch_size", 14}, {"embed_dim", 1408}, {"depth", 40}, {"num_heads", 16}, {"mlp_ratio", 48.0 / 11.0}}}};
  return known;
}

const ordered_json kConvNextUsual{
    {"patch_size", 4}, {"in_chans", 3}, {"depths", {3, 3, 27, 3}}, {"dims", {96, 192, 384, 768}}, {"norm_eps", 1e-6}};

const std::vector<Known>& known_convnexts() {
  static const std::vector<Known> known{{"convnext_tiny", {{"depths", {3, 3, 9, 3}}}},
                                        {"convnext_small", ordered_json::object()},
                                        {"convnext_base", {{"dims", {128, 256, 512, 1024}}}},
                                        {"convnext_large", {{"dims", {192, 384, 768, 1536}}}},
                                        {"convnext_xlarge", {{"dims", {256, 512, 1024, 2048}}}}};
  return known;
}

// Those of `wanted` that an architecture does not have by itself.
ordered_json differences(const ordered_json& wanted, const ordered_json& usual, const Known& known) {
  ordered_json own = usual, out = ordered_json::object();
  own.update(known.arguments);
  for (const auto& [key, value] : wanted.items()) {
    if (own.at(key) != value) out[key] = value;
  }
  return out;
}

TimmModel nearest(const ordered_json& wanted, const ordered_json& usual, const std::vector<Known>& all) {
  TimmModel out;
  size_t fewest = std::numeric_limits<size_t>::max();
  for (const Known& known : all) {
    ordered_json arguments = differences(wanted, usual, known);
    if (arguments.size() >= fewest) continue;
    fewest = arguments.size();
    out.architecture = known.name;
    out.arguments = std::move(arguments);
  }
  return out;
}

void require(bool holds, const std::string& setting, const std::string& reason) {
  if (holds) return;
  throw ConfigError(str("backbone.", setting, ": timm ", reason, ", so the model cannot be written for it"));
}

// timm cuts embed_dim · mlp_ratio where this project rounds: a ratio that gives the same hidden features there.
double timm_mlp_ratio(const nn::BackboneConfig& c) {
  const auto width = static_cast<double>(c.embed_dim);
  const auto hidden = std::llround(width * c.mlp_ratio);
  if (static_cast<int64_t>(width * c.mlp_ratio) == hidden) return c.mlp_ratio;
  return (static_cast<double>(hidden) + 0.25) / width;
}

TimmModel timm_vit(const nn::BackboneConfig& c) {
  require(c.layer_norm_eps == 1e-6, "layer_norm_eps", "has 1e-6 in every ViT");
  TimmModel out = nearest({{"img_size", c.image_size},
                           {"patch_size", c.patch_size},
                           {"in_chans", c.in_chans},
                           {"embed_dim", c.embed_dim},
                           {"depth", c.depth},
                           {"num_heads", c.num_heads},
                           {"mlp_ratio", timm_mlp_ratio(c)},
                           {"qkv_bias", c.qkv_bias},
                           {"global_pool", c.global_pool}},
                          kVitUsual, known_vits());
  out.pretrained = {{"fixed_input_size", true}, {"pool_size", nullptr}, {"first_conv", "patch_embed.proj"}};
  out.global_pool = c.global_pool;
  return out;
}

TimmModel timm_convnext(const nn::BackboneConfig& c) {
  require(c.mlp_ratio == 4, "mlp_ratio", "has 4 in every ConvNeXt");
  require(!c.unbiased_norm, "unbiased_norm",
          "divides by C in these norms. backbone.unbiased_norm=false writes the model all the same, with outputs that "
          "differ a little; else timm");
  TimmModel out = nearest({{"patch_size", c.patch_size},
                           {"in_chans", c.in_chans},
                           {"depths", c.depths},
                           {"dims", c.dims},
                           {"norm_eps", c.layer_norm_eps}},
                          kConvNextUsual, known_convnexts());
  const int64_t side = c.image_size / c.patch_size >> (c.dims.size() - 1);
  out.pretrained = {{"fixed_input_size", false}, {"pool_size", {side, side}}, {"first_conv", "stem.0"}};
  out.global_pool = "avg";
  return out;
}

}  // namespace

TimmModel timm_model(const nn::BackboneConfig& config) {
  if (config.name == "vit") return timm_vit(config);
  if (config.name == "convnext") return timm_convnext(config);
  throw ConfigError(str("backbone.name: no model of timm is known for '", config.name, "'"));
}

}  // namespace snell::train
