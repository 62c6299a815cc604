// SNELLA's budget allocator against the published code: every layer's kept entries in each of twelve epochs.
#include <gtest/gtest.h>

#include "parity/fixture_step.h"
#include "support/model_fixture.h"

namespace snell::train {
namespace {

peft::AllocatorConfig allocator_config(const test::Fixture& fixture) {
  peft::AllocatorConfig config;
  config.metric = "ipt";
  config.target_sparsity = fixture.setting("target_ratio").get<double>();
  config.warmup_epochs = fixture.number("init_warmup");
  config.final_epochs = fixture.number("final_warmup");
  config.beta1 = fixture.setting("beta1").get<double>();
  config.beta2 = fixture.setting("beta2").get<double>();
  return config;
}

// The published code's model of this file: a ViT of two blocks, rank 8, without dropout.
peft::TunedModel make_model(const test::Fixture& fixture, at::ScalarType dtype) {
  nn::BackboneConfig backbone;
  backbone.image_size = 32;
  backbone.patch_size = 8;
  backbone.embed_dim = 48;
  backbone.depth = 2;
  backbone.num_heads = 3;
  backbone.drop_path = 0;
  peft::AdapterConfig adapter;
  adapter.name = "snella";
  adapter.rank = 8;
  adapter.sparsity = fixture.setting("init_ratio").get<double>();
  adapter.dropout = adapter.drop_path = 0;
  adapter.allocator = allocator_config(fixture);
  auto model = peft::make_tuned_model(backbone, adapter, 7, 0, {dtype, at::kCPU});
  test::load_parameters(model, fixture, "start.");
  return model;
}

// "blocks.0.attn.q" is "blocks.0.attn.additional_q.learnable" there.
std::string published_name(const std::string& name) {
  const size_t dot = name.rfind('.') + 1;
  return name.substr(0, dot) + "additional_" + name.substr(dot) + ".learnable";
}

void check_allocations(at::ScalarType dtype, double loss_tolerance) {
  const test::Fixture fixture(test::fixture_folder() + "/allocator_vit_snella.safetensors");
  const auto model = make_model(fixture, dtype);
  const int64_t epochs = fixture.number("total_step");
  peft::BudgetAllocator allocator(model.branches, allocator_config(fixture), epochs);
  const FixtureStep step(*model.backbone, fixture, dtype);
  const auto expected = fixture.setting("thresholds_in_epoch");
  ASSERT_EQ(static_cast<int64_t>(expected.size()), epochs);
  std::vector<double> losses;
  for (int64_t epoch = 0; epoch < epochs; ++epoch) {
    const auto sparsities = allocator.allocate(epoch);
    EXPECT_EQ(sparsities.has_value(), epoch > fixture.number("init_warmup"));
    for (size_t i = 0; i < model.branches.size(); ++i) {
      const auto& [name, branch] = model.branches[i];
      if (sparsities) branch->set_sparsity(sparsities->at(i));
      const double published = expected.at(static_cast<size_t>(epoch)).at(published_name(name)).get<double>();
      const double entries = static_cast<double>(branch->num_entries());
      EXPECT_NEAR((1 - branch->sparsity()) * entries, (1 - published) * entries, 3) << name << ", epoch " << epoch;
    }
    for (int64_t i = 0; i < step.num_batches(); ++i) {
      losses.push_back(step(i, static_cast<int64_t>(losses.size())));
      allocator.observe();
    }
  }
  EXPECT_RELATIVE(at::tensor(losses, at::kDouble), fixture.tensor("losses"), loss_tolerance, "losses");
}

// The published code rounds otherwise where a layer fills up, so the losses part a little from there on.
TEST(AllocatorParity, KeptEntriesOfEveryEpochFloat64) {
  check_allocations(at::kDouble, 1e-4);
}
TEST(AllocatorParity, KeptEntriesOfEveryEpochFloat32) {
  check_allocations(at::kFloat, 1e-4);
}

}  // namespace
}  // namespace snell::train
