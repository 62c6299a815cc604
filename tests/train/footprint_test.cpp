#include "snell/train/footprint.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <map>

#include "snell/config/compose.h"

namespace snell::train {
namespace {

JobConfig bound(std::vector<std::string> overrides) {
  overrides.insert(overrides.end(), {"data=fgvc/cub"});
  JobConfig job;
  config::bind_section(config::compose({{SNELL_SOURCE_DIR "/configs"}}, "config", overrides).root, "", job);
  return job;
}

std::map<std::string, LayerFootprint> by_name(const std::vector<LayerFootprint>& layers) {
  std::map<std::string, LayerFootprint> out;
  for (const auto& layer : layers) EXPECT_TRUE(out.emplace(layer.name, layer).second) << layer.name;
  return out;
}

LayerFootprint total(const std::vector<LayerFootprint>& layers) {
  LayerFootprint sum;
  for (const auto& layer : layers) sum += layer;
  return sum;
}

TEST(Footprint, OfVitBaseAreThePublishedNumbers) {
  const std::string vit = "backbone=vit_base_patch16_224_in21k";
  for (const auto& [adapter, parameters] : {std::pair{"snell32", 5308416}, std::pair{"snell8", 1327104}}) {
    const LayerFootprint sum = total(footprint(bound({vit, std::string("adapter=") + adapter}), 100));
    EXPECT_EQ(sum.adapter, parameters);
    EXPECT_EQ(sum.trainable, parameters + 768 + 768 * 100 + 100) << "with class token and head";
    EXPECT_EQ(sum.trainable + sum.frozen, 85798656 + 768 * 100 + 100 + parameters);
    EXPECT_EQ(sum.weight_bytes, 4 * (sum.trainable + sum.frozen));
    EXPECT_EQ(sum.gradient_bytes, 4 * sum.trainable);
    EXPECT_EQ(sum.state_bytes, 2 * sum.gradient_bytes);
  }
  const LayerFootprint full = total(footprint(bound({vit, "adapter=full"}), 100));
  EXPECT_EQ(full.frozen, 0);
  EXPECT_EQ(full.trainable, 85798656 + 768 * 100 + 100);
}

TEST(Footprint, AnAdapterCountsWithItsProjection) {
  const auto layers = footprint(bound({"adapter=snell32", "optim=sgd"}), 10);
  auto rows = by_name(layers);
  EXPECT_EQ(rows.at("blocks.3.mlp.fc1").frozen, 768 * 3072 + 3072);
  EXPECT_EQ(rows.at("blocks.3.mlp.fc1").adapter, 32 * (768 + 3072));
  EXPECT_EQ(rows.at("blocks.3.mlp.fc1").state_bytes, 4 * 32 * (768 + 3072)) << "momentum";
  EXPECT_EQ(rows.at("blocks.3.attn.q").adapter, 32 * (768 + 768));
  EXPECT_EQ(rows.at("blocks.3.attn.q").frozen, 0) << "its weight is a part of qkv";
  EXPECT_EQ(rows.at("head").trainable, 7690);
  EXPECT_EQ(layers.back().name, "head") << "adapters stand with their blocks";
}

TEST(Footprint, AveragesAndAllocatorAreState) {
  const LayerFootprint sum = total(footprint(bound({"adapter=snella", "optim.ema.enabled=true"}), 10));
  const int64_t scalars = 72 * 3;
  EXPECT_EQ(sum.state_bytes, 3 * sum.gradient_bytes + 2 * 4 * (sum.adapter - scalars));
}

TEST(Footprint, MakesNoWeights) {
  const auto peak_kb = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
  };
  const auto before = peak_kb();
  const LayerFootprint sum = total(footprint(bound({"backbone=vit_huge_patch14_224"}), 1000));
  EXPECT_GT(sum.weight_bytes, int64_t{2500000000});
  EXPECT_LT(peak_kb() - before, 100 << 10);
}

TEST(Footprint, OfConvNext) {
  const auto rows = by_name(footprint(bound({"backbone=convnext_tiny", "adapter=snell8"}), 10));
  EXPECT_EQ(rows.at("stages.1.blocks.0.mlp.fc1").adapter, 8 * (192 + 768));
  EXPECT_EQ(rows.at("head.fc").trainable, 7690);
}

}  // namespace
}  // namespace snell::train
