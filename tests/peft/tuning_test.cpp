#include "snell/peft/tuning.h"

#include <gtest/gtest.h>

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
  ASSERT_EQ(model.deltas.size(), 2u);
  EXPECT_EQ(model.deltas[1].name, "blocks.0.attn.v");
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
  const at::Tensor in = model.deltas[0].delta->factors()[0].tensor;
  const double bound = 1.0 / std::sqrt(12.0 * 4.0);
  EXPECT_LE(in.abs().max().item<double>(), bound);
  EXPECT_GT(in.abs().max().item<double>(), 0.8 * bound);
  EXPECT_GT(model.deltas[0].delta->merge({}).delta_IO.abs().max().item<double>(), 0.0);
}

}  // namespace
}  // namespace snell::peft
