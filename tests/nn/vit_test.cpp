#include "snell/nn/vit.h"

#include <gtest/gtest.h>

#include <map>

#include "snell/nn/ignored_settings.h"

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

TEST(Vit, ARepresentationLayerStandsBeforeTheHead) {
  BackboneConfig config = small();
  config.representation_size = 7;
  auto model = make_backbone(config, 3, LinearFactory(true), {at::kDouble, at::kCPU});
  auto without = make_backbone(small(), 3, LinearFactory(true), {at::kDouble, at::kCPU});
  model->init_published(1);
  without->init_published(1);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, tensor] : model->published()) tensors[name] = tensor.detach();
  EXPECT_EQ(model->head_weight().sizes(), at::IntArrayRef({3, 7}));
  tensors.at("pre_logits.fc.bias").fill_(0.1);
  const at::NoGradGuard no_grad;
  const at::Tensor images = at::randn({2, 3, 16, 16}, at::kDouble);
  const at::Tensor expected = at::tanh(at::linear(
      without->forward_features(images, {}), tensors.at("pre_logits.fc.weight"), tensors.at("pre_logits.fc.bias")));
  EXPECT_TRUE(at::allclose(model->forward_features(images, {}), expected, 1e-12, 1e-12));
}

TEST(Vit, NewOptionsStartAsTimms) {
  BackboneConfig config = small();
  config.init_values = 1e-5;
  config.reg_tokens = 2;
  config.mlp = "swiglu";
  auto model = make_backbone(config, 3, LinearFactory(true), {at::kDouble, at::kCPU});
  EXPECT_EQ(model->pos_embed_prefix_tokens(), 3);
  model->init_published(1);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, tensor] : model->published()) tensors[name] = tensor.detach();
  EXPECT_TRUE(at::equal(tensors.at("blocks.1.ls2.gamma"), at::full({12}, 1e-5, at::kDouble)));
  EXPECT_LT(tensors.at("reg_token").abs().max().item<double>(), 1e-5);
  EXPECT_EQ(tensors.at("blocks.0.mlp.fc2.weight").sizes(), at::IntArrayRef({12, 24}));
  const auto weights = tensors.at("blocks.0.mlp.fc1.weight").chunk(2, 0);
  EXPECT_NEAR(weights[0].std().item<double>(), 0.02, 0.004);
  EXPECT_NEAR(weights[1].std().item<double>(), 1e-6, 2e-7);
  const auto biases = tensors.at("blocks.0.mlp.fc1.bias").chunk(2, 0);
  EXPECT_EQ(biases[0].abs().max().item<double>(), 0);
  EXPECT_TRUE(at::equal(biases[1], at::ones({24}, at::kDouble)));
}

TEST(Backbone, SettingsOfAnotherArchitectureAreNamed) {
  BackboneConfig config = small();
  EXPECT_TRUE(ignored_settings(config).empty());
  config.window_size = 12;
  EXPECT_EQ(ignored_settings(config), std::vector<std::string>{"backbone.window_size (used by swin)"});
  config.name = "swin";
  config.depth = 4;
  const auto ignored = ignored_settings(config);
  EXPECT_EQ(std::count(ignored.begin(), ignored.end(), "backbone.depth (used by vit)"), 1);
  EXPECT_EQ(std::count(ignored.begin(), ignored.end(), "backbone.window_size (used by swin)"), 0);
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
