// Published weight files: features before the head and logits.
#include <gtest/gtest.h>

#include "support/model_fixture.h"
#include "support/renamed_source.h"

namespace snell::nn {
namespace {

struct Loaded {
  std::unique_ptr<Backbone> backbone;
  LoadReport report;
};

BackboneConfig small_vit(int64_t image_size) {
  BackboneConfig config;
  config.image_size = image_size;
  config.patch_size = 8;
  config.embed_dim = 48;
  config.depth = 2;
  config.num_heads = 3;
  return config;
}

Loaded load_vit(const std::string& file, int64_t image_size, bool load_head) {
  Loaded out{make_backbone(small_vit(image_size), 7, LinearFactory(false), {}), {}};
  const auto source = io::open_tensors(test::fixture_folder() + "/weights/" + file);
  out.report = load_weights(*out.backbone, *source, {load_head});
  return out;
}

void expect_outputs(const Loaded& model, const std::string& expected_file) {
  at::NoGradGuard no_grad;
  const test::Fixture expected(test::fixture_folder() + "/weights/" + expected_file);
  const at::Tensor images = expected.tensor("images", at::kFloat);
  EXPECT_RELATIVE(model.backbone->forward_features(images, {}), expected.tensor("features"), 1e-5, "features");
  EXPECT_RELATIVE(model.backbone->forward(images, {}), expected.tensor("logits"), 1e-5, "logits");
}

TEST(WeightsParity, EveryFileOfAVit) {
  for (const std::string file : {"vit_timm.safetensors", "vit_google.npz", "vit_google_opt_target.npz",
                                 "vit_moco.pth.tar", "vit_moco_legacy.pth.tar"}) {
    SCOPED_TRACE(file);
    expect_outputs(load_vit(file, 32, true), "vit.expected.safetensors");
  }
}

TEST(WeightsParity, MaeHasNoHead) {
  const Loaded model = load_vit("vit_mae.pth", 32, false);
  EXPECT_EQ(model.report.count(LoadAction::kIgnored), 0);
  const at::NoGradGuard no_grad;
  const test::Fixture expected(test::fixture_folder() + "/weights/vit.expected.safetensors");
  EXPECT_RELATIVE(model.backbone->forward_features(expected.tensor("images", at::kFloat), {}),
                  expected.tensor("features"), 1e-5, "features");
  EXPECT_THROW(load_vit("vit_mae.pth", 32, true), core::WeightsError);
}

TEST(WeightsParity, ATensorOfTooFewDimensionsIsNamed) {
  const auto file = io::open_tensors(test::fixture_folder() + "/weights/vit_google.npz");
  const std::string attention = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1/";
  const std::vector<std::string> kernels{"embedding/kernel", attention + "query/kernel", attention + "out/kernel",
                                         "Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel"};
  for (const auto& name : kernels) {
    test::RenamedSource damaged(*file, "");
    damaged.rename(name, "");
    damaged.add(name, "embedding/bias");
    const auto backbone = make_backbone(small_vit(32), 7, LinearFactory(false), {});
    try {
      load_weights(*backbone, damaged);
      ADD_FAILURE() << name << " was taken with one dimension";
    } catch (const core::WeightsError& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find(name), std::string::npos) << message;
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
  }
}

TEST(WeightsParity, AFileWithCodeInItIsRefused) {
  try {
    load_vit("malicious.pth", 32, false);
    FAIL() << "it was loaded";
  } catch (const core::WeightsError& error) {
    EXPECT_NE(std::string(error.what()).find("system"), std::string::npos) << error.what();
  }
}

TEST(WeightsParity, EveryFileOfASwinAndAConvNext) {
  for (const std::string name : {"convnext", "swin"}) {
    const test::Fixture expected(test::fixture_folder() + "/weights/" + name + ".expected.safetensors");
    for (const std::string author : {"_timm.safetensors", name == "swin" ? "_microsoft.pth" : "_facebook.pth"}) {
      SCOPED_TRACE(name + author);
      Loaded model{make_backbone(test::backbone_config(expected), 7, LinearFactory(false), {}), {}};
      const auto source = io::open_tensors(test::fixture_folder() + "/weights/" + name + author);
      model.report = load_weights(*model.backbone, *source, {true});
      expect_outputs(model, name + ".expected.safetensors");
    }
  }
}

TEST(WeightsParity, SwinOfAnotherWindowResizesItsBiasTables) {
  const test::Fixture expected(test::fixture_folder() + "/weights/swin.expected.safetensors");
  BackboneConfig config = test::backbone_config(expected);
  config.window_size = 8;
  const auto backbone = make_backbone(config, 7, LinearFactory(false), {});
  const auto source = io::open_tensors(test::fixture_folder() + "/weights/swin_microsoft.pth");
  const LoadReport report = load_weights(*backbone, *source);
  const std::string first = "layers.0.blocks.0.attn.relative_position_bias_table";
  EXPECT_EQ(report.names(LoadAction::kResized).front(), first);
  EXPECT_EQ(report.count(LoadAction::kIgnored), 6);  // four tables of positions, the head
  // Bicubic between cells: a resized table stays near the range of the old one, and its middle is the old middle.
  const at::Tensor old = to_tensor(source->read(first));
  for (const auto& [name, tensor] : backbone->published()) {
    if (name != first) continue;
    ASSERT_EQ(tensor.size(0), 15 * 15);
    EXPECT_RELATIVE(tensor[7 * 15 + 7], old[3 * 7 + 3], 1e-6, "middle");
    EXPECT_LT(tensor.abs().max().item<float>(), 1.5 * old.abs().max().item<float>());
  }
}

TEST(WeightsParity, ABackboneOfAnotherHeadTakesTheRest) {
  const test::Fixture expected(test::fixture_folder() + "/weights/convnext.expected.safetensors");
  const auto source = io::open_tensors(test::fixture_folder() + "/weights/convnext_timm.safetensors");
  Loaded headless{make_backbone(test::backbone_config(expected), 9, LinearFactory(false), {}), {}};
  headless.report = load_weights(*headless.backbone, *source);
  EXPECT_EQ(headless.report.names(LoadAction::kIgnored), (std::vector<std::string>{"head.fc.bias", "head.fc.weight"}));
  const at::NoGradGuard no_grad;
  EXPECT_RELATIVE(headless.backbone->forward_features(expected.tensor("images", at::kFloat), {}),
                  expected.tensor("features"), 1e-5, "features");
}

TEST(WeightsParity, PositionEmbeddingOfAnotherGrid) {
  const Loaded model = load_vit("vit_timm.safetensors", 64, true);
  EXPECT_EQ(model.report.names(LoadAction::kResized), std::vector<std::string>{"pos_embed"});
  expect_outputs(model, "vit_resized_64.expected.safetensors");
}

TEST(WeightsParity, TheHeadIsNewUnlessAskedFor) {
  const Loaded model = load_vit("vit_google.npz", 32, false);
  EXPECT_EQ(model.report.names(LoadAction::kIgnored),
            (std::vector<std::string>{"head/bias", "head/kernel", "pre_logits/bias", "pre_logits/kernel"}));
  EXPECT_EQ(model.backbone->head_weight().abs().max().item<float>(), 0.0f);
}

TEST(WeightsParity, AWrongBackboneIsNamed) {
  BackboneConfig config = small_vit(32);
  config.depth = 3;
  const auto backbone = make_backbone(config, 7, LinearFactory(false), {});
  const auto source = io::open_tensors(test::fixture_folder() + "/weights/vit_timm.safetensors");
  try {
    load_weights(*backbone, *source);
    FAIL() << "a file of two blocks was taken for a backbone of three";
  } catch (const core::WeightsError& error) {
    EXPECT_NE(std::string(error.what()).find("It lacks: blocks.2.norm1.weight"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace snell::nn
