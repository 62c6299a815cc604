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

ordered_json with(ordered_json arguments, const ordered_json& more) {
  arguments.update(more);
  return arguments;
}

// "mlp" is no argument of timm's: an architecture has one kind or the other.
const ordered_json kVitUsual{
    {"img_size", 224}, {"patch_size", 16},        {"in_chans", 3},      {"embed_dim", 768},       {"depth", 12},
    {"num_heads", 12}, {"mlp_ratio", 4.0},        {"qkv_bias", true},   {"global_pool", "token"}, {"class_token", true},
    {"reg_tokens", 0}, {"no_embed_class", false}, {"init_values", 0.0}, {"mlp", "gelu"}};

std::vector<Known> make_vits() {
  const ordered_json base = ordered_json::object();
  const ordered_json tiny{{"embed_dim", 192}, {"num_heads", 3}}, small{{"embed_dim", 384}, {"num_heads", 6}},
      large{{"embed_dim", 1024}, {"depth", 24}, {"num_heads", 16}};
  const ordered_json pixels_384{{"img_size", 384}}, patch_8{{"patch_size", 8}}, patch_14{{"patch_size", 14}},
      patch_32{{"patch_size", 32}};
  std::vector<Known> known{
      {"vit_tiny_patch16_224", tiny},
      {"vit_tiny_patch16_384", with(tiny, pixels_384)},
      {"vit_small_patch8_224", with(small, patch_8)},
      {"vit_small_patch16_224", small},
      {"vit_small_patch16_384", with(small, pixels_384)},
      {"vit_small_patch32_224", with(small, patch_32)},
      {"vit_base_patch8_224", patch_8},
      {"vit_base_patch16_224", base},
      {"vit_base_patch16_384", pixels_384},
      {"vit_base_patch32_224", patch_32},
      {"vit_large_patch14_224", with(large, patch_14)},
      {"vit_large_patch16_224", large},
      {"vit_large_patch16_384", with(large, pixels_384)},
      {"vit_large_patch32_224", with(large, patch_32)},
      {"vit_huge_patch14_224", with(patch_14, {{"embed_dim", 1280}, {"depth", 32}, {"num_heads", 16}})},
      {"vit_giant_patch14_224",
       with(patch_14, {{"embed_dim", 1408}, {"depth", 40}, {"num_heads", 16}, {"mlp_ratio", 48.0 / 11.0}})},
      {"vit_gigantic_patch14_224",
       with(patch_14, {{"embed_dim", 1664}, {"depth", 48}, {"num_heads", 16}, {"mlp_ratio", 64.0 / 13.0}})}};
  const ordered_json dinov2 = with(patch_14, {{"img_size", 518}, {"init_values", 1e-5}});
  const ordered_json registers{{"reg_tokens", 4}, {"no_embed_class", true}};
  const ordered_json giant{
      {"embed_dim", 1536}, {"depth", 40}, {"num_heads", 24}, {"mlp_ratio", 2 * 2.66667}, {"mlp", "swiglu"}};
  for (const auto& [size, arguments] :
       {std::pair{"small", small}, std::pair{"base", base}, std::pair{"large", large}, std::pair{"giant", giant}}) {
    known.push_back({str("vit_", size, "_patch14_dinov2"), with(dinov2, arguments)});
    known.push_back({str("vit_", size, "_patch14_reg4_dinov2"), with(with(dinov2, arguments), registers)});
  }
  return known;
}

const std::vector<Known>& known_vits() {
  static const std::vector<Known> known = make_vits();
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

const ordered_json kSwinUsual{{"img_size", 224},
                              {"patch_size", 4},
                              {"in_chans", 3},
                              {"embed_dim", 96},
                              {"window_size", 7},
                              {"depths", {2, 2, 18, 2}},
                              {"num_heads", {3, 6, 12, 24}},
                              {"mlp_ratio", 4.0},
                              {"qkv_bias", true}};

const std::vector<Known>& known_swins() {
  static const ordered_json base{{"embed_dim", 128}, {"num_heads", {4, 8, 16, 32}}},
      large{{"embed_dim", 192}, {"num_heads", {6, 12, 24, 48}}}, window_12{{"img_size", 384}, {"window_size", 12}};
  static const std::vector<Known> known{{"swin_tiny_patch4_window7_224", {{"depths", {2, 2, 6, 2}}}},
                                        {"swin_small_patch4_window7_224", ordered_json::object()},
                                        {"swin_base_patch4_window7_224", base},
                                        {"swin_base_patch4_window12_384", with(base, window_12)},
                                        {"swin_large_patch4_window7_224", large},
                                        {"swin_large_patch4_window12_384", with(large, window_12)}};
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
    if (arguments.contains("mlp") || arguments.size() >= fewest) continue;
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
  return (static_cast<double>(hidden) + 0.01) / width;
}

TimmModel timm_vit(const nn::BackboneConfig& c) {
  require(c.layer_norm_eps == 1e-6, "layer_norm_eps", "has 1e-6 in every ViT");
  require(c.representation_size == 0, "representation_size", "has no layer before the head");
  TimmModel out = nearest({{"img_size", c.image_size},
                           {"patch_size", c.patch_size},
                           {"in_chans", c.in_chans},
                           {"embed_dim", c.embed_dim},
                           {"depth", c.depth},
                           {"num_heads", c.num_heads},
                           {"mlp_ratio", timm_mlp_ratio(c)},
                           {"qkv_bias", c.qkv_bias},
                           {"global_pool", c.global_pool},
                           {"class_token", c.class_token},
                           {"reg_tokens", c.reg_tokens},
                           {"no_embed_class", c.no_embed_class},
                           {"init_values", c.init_values},
                           {"mlp", c.mlp}},
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
  int64_t side = c.image_size / c.patch_size;
  for (size_t s = 1; s < c.dims.size(); ++s) side /= 2;
  out.pretrained = {{"fixed_input_size", false}, {"pool_size", {side, side}}, {"first_conv", "stem.0"}};
  out.global_pool = "avg";
  return out;
}

TimmModel timm_swin(const nn::BackboneConfig& c) {
  require(c.layer_norm_eps == 1e-5, "layer_norm_eps", "has 1e-5 in every Swin");
  std::vector<int64_t> heads;
  int64_t side = c.image_size / c.patch_size;
  for (size_t s = 0; s < c.depths.size(); ++s) {
    heads.push_back(c.num_heads << s);
    if (s > 0) side = (side + 1) / 2;
  }
  TimmModel out = nearest({{"img_size", c.image_size},
                           {"patch_size", c.patch_size},
                           {"in_chans", c.in_chans},
                           {"embed_dim", c.embed_dim},
                           {"window_size", c.window_size},
                           {"depths", c.depths},
                           {"num_heads", heads},
                           {"mlp_ratio", timm_mlp_ratio(c)},
                           {"qkv_bias", c.qkv_bias}},
                          kSwinUsual, known_swins());
  out.pretrained = {{"fixed_input_size", true}, {"pool_size", {side, side}}, {"first_conv", "patch_embed.proj"}};
  out.global_pool = "avg";
  return out;
}

}  // namespace

TimmModel timm_model(const nn::BackboneConfig& config) {
  if (config.name == "vit") return timm_vit(config);
  if (config.name == "convnext") return timm_convnext(config);
  if (config.name == "swin") return timm_swin(config);
  throw ConfigError(str("backbone.name: no model of timm is known for '", config.name, "'"));
}

}  // namespace snell::train
