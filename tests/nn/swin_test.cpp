#include "snell/nn/swin.h"

#include <gtest/gtest.h>

#include <map>

namespace snell::nn {
namespace {

BackboneConfig small() {
  BackboneConfig config;
  config.name = "swin";
  config.image_size = 36;
  config.patch_size = 4;
  config.embed_dim = 12;
  config.num_heads = 2;
  config.depths = {2, 2};
  config.window_size = 4;
  return config;
}

int64_t elements_without_head(const BackboneConfig& config) {
  const auto model = make_backbone(config, 1, LinearFactory(false), {});
  return count_elements(model->published()) - model->head_weight().numel() - model->head_bias().numel();
}

TEST(Swin, HasTimmsNumberOfParameters) {
  BackboneConfig tiny;  // timm: swin_tiny_patch4_window7_224 without its head
  tiny.name = "swin";
  tiny.patch_size = 4;
  tiny.embed_dim = 96;
  tiny.num_heads = 3;
  tiny.depths = {2, 2, 6, 2};
  EXPECT_EQ(elements_without_head(tiny), 27'519'354);
  BackboneConfig base = tiny;  // swin_base_patch4_window12_384
  base.image_size = 384;
  base.embed_dim = 128;
  base.num_heads = 4;
  base.depths = {2, 2, 18, 2};
  base.window_size = 12;
  EXPECT_EQ(elements_without_head(base), 86'878'584);
}

TEST(Swin, TheWindowIsTheMapWhereTheMapIsSmaller) {
  std::map<std::string, at::Tensor> tensors;
  const auto model = make_backbone(small(), 3, LinearFactory(false), {});
  for (const auto& [name, tensor] : model->published()) tensors[name] = tensor;
  const auto rows = [&](const std::string& block) {
    return tensors.at(block + ".attn.relative_position_bias_table").size(0);
  };
  EXPECT_EQ(rows("layers.0.blocks.1"), 7 * 7);  // 9 x 9 tokens, windows of 4
  EXPECT_EQ(rows("layers.1.blocks.1"), 7 * 7);  // 5 x 5, an odd map merged
  BackboneConfig smaller = small();
  smaller.image_size = 12;
  const auto other = make_backbone(smaller, 3, LinearFactory(false), {});
  for (const auto& [name, tensor] : other->published()) tensors[name] = tensor;
  EXPECT_EQ(rows("layers.0.blocks.1"), 5 * 5);  // 3 x 3
  EXPECT_EQ(rows("layers.1.blocks.1"), 3 * 3);  // 2 x 2
  EXPECT_EQ(other->forward(at::zeros({2, 3, 12, 12}), {}).sizes(), at::IntArrayRef({2, 3}));
}

TEST(Swin, StartsAsTimmsNewModels) {
  auto model = make_backbone(small(), 3, LinearFactory(true), {at::kDouble, at::kCPU});
  model->init_published(5);
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : model->published()) {
    const double largest = tensor.abs().max().item<double>();
    if (name.starts_with("patch_embed.proj.")) {
      EXPECT_GT(largest, 0.05) << name;
      EXPECT_LE(largest, 1 / std::sqrt(48.0)) << name;
    } else if (name.ends_with(".bias")) {
      EXPECT_EQ(largest, 0) << name;
    } else if (tensor.dim() == 1) {
      EXPECT_TRUE(at::equal(tensor, at::ones_like(tensor))) << name;
    } else if (!name.starts_with("head")) {
      EXPECT_NEAR(tensor.std().item<double>(), 0.02, 0.004) << name;
    }
  }
}

// One sample's drop paths do not depend on which others share its batch, whatever the number of its windows.
TEST(Swin, DrawsAreKeyedByTheSample) {
  BackboneConfig config = small();
  config.drop_path = 0.5;
  auto model = make_backbone(config, 3, LinearFactory(true), {at::kDouble, at::kCPU});
  model->init_published(1);
  model->init_head(1);
  const at::NoGradGuard no_grad;
  const at::Tensor images = at::randn({6, 3, 36, 36}, at::kDouble);
  const auto run = [&](int64_t first, int64_t count, bool training) {
    return model->forward(images.slice(0, first, first + count), {9, 1, static_cast<uint32_t>(first), training});
  };
  EXPECT_TRUE(at::allclose(run(0, 6, true).slice(0, 3, 5), run(3, 2, true), 1e-12, 1e-12));
  EXPECT_FALSE(at::allclose(run(0, 6, true), run(0, 6, false), 1e-6, 1e-6));
}

}  // namespace
}  // namespace snell::nn
