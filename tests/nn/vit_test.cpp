#include "snell/nn/vit.h"

#include <gtest/gtest.h>

namespace snell::nn {
namespace {

BackboneConfig small() {
  BackboneConfig config;
  config.image_size = 16;
  config.patch_size = 8;
  config.embed_dim = 12;
  config.depth = 2;
  config.num_heads = 3;
  return config;
}

int64_t backbone_elements(BackboneConfig config) {
  const auto model = make_backbone(config, 1, LinearFactory(false), {});
  return count_elements(model->published()) - model->head_weight().numel() - model->head_bias().numel();
}

TEST(Vit, HasTimmsNumberOfParameters) {
  BackboneConfig tiny;  // timm: vit_tiny_patch16_224 without its head
  tiny.embed_dim = 192;
  tiny.num_heads = 3;
  EXPECT_EQ(backbone_elements(tiny), 5'524'416);
  EXPECT_EQ(backbone_elements(BackboneConfig{}), 85'798'656);  // vit_base_patch16_224
}

TEST(Vit, StartsFromTheSeedAlone) {
  const auto make = [](uint64_t seed) {
    auto model = make_backbone(small(), 3, LinearFactory(true), {at::kDouble, at::kCPU});
    model->init_published(seed);
    model->init_head(seed);
    return model;
  };
  const auto a = make(1), b = make(1), c = make(2);
  const auto weight = [](const auto& model) { return model->published()[6].tensor; };
  EXPECT_TRUE(at::equal(weight(a), weight(b)));
  EXPECT_FALSE(at::equal(weight(a), weight(c)));
}

TEST(Vit, DropPathIsOffInEvaluationAndKeyedInTraining) {
  BackboneConfig config = small();
  config.drop_path = 0.5;
  auto model = make_backbone(config, 3, LinearFactory(true), {at::kDouble, at::kCPU});
  model->init_published(1);
  model->init_head(1);
  const at::NoGradGuard no_grad;
  const at::Tensor images = at::randn({8, 3, 16, 16}, at::kDouble);
  const auto run = [&](uint32_t step, bool training) { return model->forward(images, {9, step, 0, training}); };
  EXPECT_TRUE(at::equal(run(1, false), run(2, false)));
  EXPECT_TRUE(at::equal(run(1, true), run(1, true)));
  EXPECT_FALSE(at::equal(run(1, true), run(2, true)));
}

TEST(Vit, AveragePoolingLooksAtThePatches) {
  BackboneConfig config = small();
  config.global_pool = "avg";
  const auto model = make_backbone(config, 3, LinearFactory(false), {});
  const auto names = model->published();
  EXPECT_TRUE(std::any_of(names.begin(), names.end(), [](const auto& p) { return p.name == "fc_norm.weight"; }));
  EXPECT_EQ(model->forward(at::zeros({2, 3, 16, 16}), {}).sizes(), at::IntArrayRef({2, 3}));
}

}  // namespace
}  // namespace snell::nn
