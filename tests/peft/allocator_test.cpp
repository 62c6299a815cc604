#include <gtest/gtest.h>

#include <limits>
#include <numeric>

#include "snell/core/error.h"
#include "snell/peft/tuning.h"

namespace snell::peft {
namespace {

constexpr int64_t kEpochs = 12;

TEST(KeptVolume, FallsByACubicBetweenWarmUpAndFinalEpochs) {
  AllocatorConfig config;
  config.warmup_epochs = 2;
  config.final_epochs = 2;
  for (const int64_t epoch : {0, 1, 2}) EXPECT_EQ(kept_volume(config, 700, 100, epoch, kEpochs), 700);
  EXPECT_DOUBLE_EQ(kept_volume(config, 700, 100, 6, kEpochs), 100 + 600 * 0.125);
  for (const int64_t epoch : {10, 11}) EXPECT_EQ(kept_volume(config, 700, 100, epoch, kEpochs), 100);
}

using Volumes = std::vector<int64_t>;

TEST(ShareOut, ByScore) {
  EXPECT_EQ(share_out({0.5, 0.25, 0.25}, {100, 100, 100}, 40), (Volumes{20, 10, 10}));
}

TEST(ShareOut, WhatAFullLayerLeavesGoesToTheOthers) {
  EXPECT_EQ(share_out({0.5, 0.25, 0.25}, {10, 100, 100}, 40), (Volumes{10, 15, 15}));
  EXPECT_EQ(share_out({8, 4, 1, 1}, {10, 20, 100, 100}, 60), (Volumes{10, 20, 15, 15})) << "one layer fills the next";
}

TEST(ShareOut, KeepsItsLimits) {
  EXPECT_EQ(share_out({1, 2}, {5, 7}, 1000), (Volumes{5, 7}));
  EXPECT_EQ(share_out({0, 0}, {5, 7}, 6), (Volumes{0, 0}));
  EXPECT_EQ(share_out({0, 1}, {5, 7}, 12), (Volumes{0, 7})) << "no score, no share";
  EXPECT_EQ(share_out({1, 1}, {5, 7}, 0), (Volumes{0, 0}));
}

AdapterConfig adapter_config(const std::string& metric) {
  AdapterConfig config;
  config.name = "snella";
  config.rank = 4;
  config.targets = {"q", "fc1"};
  config.allocator.metric = metric;
  config.allocator.target_sparsity = 0.75;
  return config;
}

struct Setting {
  TunedModel model;
  BudgetAllocator allocator;
};

Setting make(const AdapterConfig& config) {
  nn::BackboneConfig backbone;
  backbone.image_size = 16;
  backbone.patch_size = 8;
  backbone.embed_dim = 12;
  backbone.depth = 2;
  backbone.num_heads = 3;
  TunedModel model = make_tuned_model(backbone, config, 5, 1, {});
  BudgetAllocator allocator(model.branches, config.allocator, kEpochs);
  return {std::move(model), std::move(allocator)};
}

// Gradients of one number in every factor of a branch.
void set_gradients(const TunedModel& model, const std::vector<double>& of_branch) {
  for (size_t i = 0; i < model.branches.size(); ++i) {
    for (const auto& [name, tensor] : model.branches[i].branch->factors()) {
      at::Tensor(tensor).mutable_grad() = at::full_like(tensor, of_branch[i]);
    }
  }
}

double kept(const TunedModel& model, const std::vector<double>& sparsities) {
  double sum = 0;
  for (size_t i = 0; i < sparsities.size(); ++i) {
    sum += (1 - sparsities[i]) * static_cast<double>(model.branches[i].branch->num_entries());
  }
  return sum;
}

TEST(BudgetAllocator, GivesMoreToLayersWithLargerImportanceAndSpendsTheBudget) {
  auto [model, allocator] = make(adapter_config("ipt"));
  ASSERT_EQ(model.branches.size(), 4u);  // two of 12 x 12 and two of 12 x 48
  EXPECT_EQ(model.branches[1].branch->num_entries(), 12 * 48);
  set_gradients(model, {1, 1, 2, 1});
  allocator.observe();
  EXPECT_FALSE(allocator.allocate(0)) << "the warm-up's last epoch";
  const auto found = allocator.allocate(kEpochs - 1);
  ASSERT_TRUE(found);
  EXPECT_LT(found->at(2), found->at(0));
  const double entries = 2 * (144 + 576), target = 0.25 * entries;
  EXPECT_LE(kept(model, *found), kept_volume(adapter_config("ipt").allocator, entries, target, kEpochs - 1, kEpochs));
  EXPECT_GE(kept(model, *found), target - 4);
}

TEST(BudgetAllocator, MovingAveragesAreAdaLoras) {
  auto [model, allocator] = make(adapter_config("ipt"));
  const at::Tensor factor = model.branches[0].branch->factors()[0].tensor;
  const at::Tensor magnitude = factor.detach().abs();
  set_gradients(model, {2, 0, 0, 0});
  allocator.observe();
  set_gradients(model, {-4, 0, 0, 0});
  allocator.observe();
  ASSERT_EQ(allocator.state()[0].name, "importance/blocks.0.attn.additional_q.learnable.In_Qs");
  const double mean_1 = 0.15 * 2, mean_2 = 0.85 * mean_1 + 0.15 * 4;
  const double uncertainty = 0.85 * 0.15 * (2 - mean_1) + 0.15 * (4 - mean_2);
  EXPECT_TRUE(at::allclose(allocator.state()[0].tensor, magnitude * mean_2));
  EXPECT_TRUE(at::allclose(allocator.state()[1].tensor, magnitude * uncertainty));
}

TEST(BudgetAllocator, ANaNCountsNothing) {
  auto [model, allocator] = make(adapter_config("ipt"));
  set_gradients(model, {std::numeric_limits<double>::quiet_NaN(), 1, 1, 1});
  allocator.observe();
  const auto found = allocator.allocate(kEpochs - 1);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->at(0), 1.0);
}

TEST(BudgetAllocator, WithoutAnyScoreNothingChanges) {
  auto [model, allocator] = make(adapter_config("ipt"));
  EXPECT_FALSE(allocator.allocate(kEpochs - 1));
}

TEST(BudgetAllocator, OtherMetrics) {
  for (const std::string metric : {"mag", "w_mag"}) {
    auto [model, allocator] = make(adapter_config(metric));
    set_gradients(model, {0, 0, 0, 0});
    {
      const at::NoGradGuard no_grad;  // a layer with larger factors, and so with a larger ΔW
      for (const auto& [name, tensor] : model.branches[3].branch->factors()) at::Tensor(tensor).mul_(5);
    }
    allocator.observe();
    const auto found = allocator.allocate(kEpochs - 1);
    ASSERT_TRUE(found) << metric;
    EXPECT_LT(found->at(3), found->at(1)) << metric;
    EXPECT_EQ(allocator.state().empty(), metric == "w_mag");
  }
}

TEST(Branches, SparsityIsSetBetweenPasses) {
  for (const std::string name : {"snell", "snella"}) {
    AdapterConfig config = adapter_config("ipt");
    config.name = name;
    auto [model, allocator] = make(config);
    const auto& branch = model.branches[1].branch;
    const at::Tensor dense = branch->merged();
    EXPECT_GE((dense != 0).sum().item<int64_t>(), 575) << name;
    branch->set_sparsity(0.75);
    EXPECT_EQ(branch->sparsity(), 0.75);
    const at::Tensor sparse = branch->merged();
    EXPECT_EQ((sparse != 0).sum().item<int64_t>(), 144) << name;
    EXPECT_TRUE(at::equal(at::where(sparse != 0, dense, 0), sparse)) << name << ": what stays is as it was";
    branch->set_sparsity(1);
    EXPECT_EQ((branch->merged() != 0).sum().item<int64_t>(), 0) << name;
    EXPECT_THROW(branch->set_sparsity(1.5), core::Error);
  }
  AdapterConfig config = adapter_config("none");
  for (const std::string name : {"klora", "lora"}) {
    config.name = name;
    EXPECT_THROW(adapters().get(name)("q", 4, 4, config, {})->set_sparsity(0.5), core::Error) << name;
  }
}

}  // namespace
}  // namespace snell::peft
