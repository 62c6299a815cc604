#include "snell/peft/tuning.h"

#include <gtest/gtest.h>

#include "snell/core/error.h"

namespace snell::peft {
namespace {

TunedModel make(const AdapterConfig& adapter, int64_t depth = 2) {
  nn::BackboneConfig backbone;
  backbone.image_size = 16;
  backbone.patch_size = 8;
  backbone.embed_dim = 12;
  backbone.depth = depth;
  backbone.num_heads = 3;
  return make_tuned_model(backbone, adapter, 5, 1, {});
}

std::vector<std::string> trainable_names(const TunedModel& model) {
  std::vector<std::string> names;
  for (const auto& parameter : model.backbone->trainable()) names.push_back(parameter.name);
  return names;
}

TEST(Tuning, LinearTrainsTheHeadAlone) {
  AdapterConfig config;
  config.name = "linear";
  config.class_token = false;
  EXPECT_EQ(trainable_names(make(config)), (std::vector<std::string>{"head.weight", "head.bias"}));
}

TEST(Tuning, FullTrainsEverything) {
  AdapterConfig config;
  config.name = "full";
  const auto model = make(config);
  EXPECT_EQ(model.backbone->trainable().size(), model.backbone->published().size());
}

TEST(Tuning, TargetsSelectProjections) {
  AdapterConfig config;
  config.rank = 4;
  config.targets = {"q", "v"};
  const auto model = make(config, 1);
  EXPECT_EQ(trainable_names(model),
            (std::vector<std::string>{
                "cls_token", "head.weight", "head.bias", "blocks.0.attn.additional_q.learnable.In_Qs",
                "blocks.0.attn.additional_q.learnable.Out_Qs", "blocks.0.attn.additional_v.learnable.In_Qs",
                "blocks.0.attn.additional_v.learnable.Out_Qs"}));
  ASSERT_EQ(model.branches.size(), 2u);
  EXPECT_EQ(model.branches[1].name, "blocks.0.attn.v");
}

std::vector<std::string> adapted(const TunedModel& model) {
  std::vector<std::string> names;
  for (const auto& entry : model.branches) names.push_back(entry.name);
  return names;
}

TEST(Tuning, PatternsSelectAndExclude) {
  AdapterConfig config;
  config.rank = 4;
  config.targets = {"attn.proj", R"(blocks\.1\..*)"};
  config.exclude = {"k", "mlp.fc2"};
  EXPECT_EQ(adapted(make(config)), (std::vector<std::string>{"blocks.0.attn.proj", "blocks.1.attn.q", "blocks.1.attn.v",
                                                             "blocks.1.attn.proj", "blocks.1.mlp.fc1"}));
}

std::string warnings_of(const AdapterConfig& config) {
  testing::internal::CaptureStderr();
  make(config);
  return testing::internal::GetCapturedStderr();
}

TEST(Tuning, WarnsOfAPatternThatMatchesNothing) {
  AdapterConfig config;
  config.rank = 4;
  config.targets = {"q", "gate"};
  config.exclude = {"up"};
  config.layer_sparsity = {"down=0.5"};
  const std::string said = warnings_of(config);
  EXPECT_NE(said.find("adapter.targets names 'gate', which no projection"), std::string::npos) << said;
  EXPECT_NE(said.find("adapter.exclude names 'up'"), std::string::npos) << said;
  EXPECT_NE(said.find("adapter.layer_sparsity names 'down'"), std::string::npos) << said;
  EXPECT_EQ(said.find("'q'"), std::string::npos) << said;
}

TEST(Tuning, WarnsOfASparsityThatTheAdapterHasNot) {
  AdapterConfig config;
  config.rank = 4;
  config.sparsity = 0.5;
  EXPECT_EQ(warnings_of(config), "");
  config.name = "lora";
  EXPECT_NE(warnings_of(config).find("mean nothing to adapter 'lora'"), std::string::npos);
}

TEST(Tuning, LayersHaveTheirOwnSparsity) {
  AdapterConfig config;
  config.rank = 4;
  config.sparsity = 0.25;
  config.layer_sparsity = {"q=0.5", R"(blocks\.1\..*=0.75)"};
  const auto model = make(config);
  for (const auto& [name, branch] : model.branches) {
    const double expected = name.starts_with("blocks.1.") ? 0.75 : name == "blocks.0.attn.q" ? 0.5 : 0.25;
    EXPECT_EQ(branch->sparsity(), expected) << name;
    const at::Tensor delta = branch->merged();
    EXPECT_NEAR((delta == 0).to(at::kDouble).mean().item<double>(), expected, 1.5 / 144) << name;
  }
}

TEST(Tuning, BrokenPatternsAreNamed) {
  const auto message_of = [](const AdapterConfig& config) -> std::string {
    try {
      make(config);
    } catch (const core::ConfigError& error) {
      return error.what();
    }
    return "no error";
  };
  AdapterConfig config;
  config.rank = 4;
  config.targets = {"blocks.(0"};
  EXPECT_NE(message_of(config).find("adapter.targets holds 'blocks.(0', which is no regular expression"),
            std::string::npos);
  config.targets = {""};
  EXPECT_NE(message_of(config).find("adapter.targets holds a pattern of 0 characters"), std::string::npos);
  config.targets = {"gate"};
  EXPECT_NE(message_of(config).find("leave no projection to adapt"), std::string::npos);
  config.targets = {"q"};
  for (const char* text : {"q", "q=", "q=2", "q=0.5x", "q=nan"}) {
    config.layer_sparsity = {text};
    EXPECT_NE(message_of(config).find("adapter.layer_sparsity holds '" + std::string(text) + "'"), std::string::npos)
        << text;
  }
}

TEST(Tuning, LoraStartsAsThePublishedModel) {
  for (const char* name : {"lora", "lora_bias", "adapter"}) {
    AdapterConfig config;
    config.name = name;
    config.rank = 3;
    const auto model = make(config, 1);
    Kept kept;
    const at::Tensor added = model.branches[0].branch->forward(at::ones({2, 12}), kept);
    EXPECT_EQ(added.abs().max().item<double>(), 0.0) << name;
    EXPECT_GT(model.branches[0].branch->factors()[0].tensor.abs().max().item<double>(), 0.1) << name;
  }
}

TEST(Tuning, VitBaseHasThePublishedNumberOfAdapterParameters) {
  AdapterConfig config;
  config.rank = 32;
  EXPECT_EQ(nn::count_elements(make_tuned_model({}, config, 10, 0, {}).backbone->adapters()), 5'308'416);
}

TEST(Tuning, FactorsStartWithinTheirBounds) {
  AdapterConfig config;
  config.rank = 8;
  const auto model = make(config, 1);
  const at::Tensor in = model.branches[0].branch->factors()[0].tensor;
  const double bound = 1.0 / std::sqrt(12.0 * 4.0);
  EXPECT_LE(in.abs().max().item<double>(), bound);
  EXPECT_GT(in.abs().max().item<double>(), 0.8 * bound);
  EXPECT_GT(model.branches[0].branch->merged().abs().max().item<double>(), 0.0);
}

}  // namespace
}  // namespace snell::peft
