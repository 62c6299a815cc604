#include "snell/train/ema.h"

#include <gtest/gtest.h>

namespace snell::train {
namespace {

nn::Parameters parameters() {
  return {{"a", at::arange(6, at::kFloat).view({2, 3}).requires_grad_(true)},
          {"b", at::ones({4}).requires_grad_(true)}};
}

EmaConfig config_with(double decay, bool warmup) {
  EmaConfig config;
  config.decay = decay;
  config.warmup = warmup;
  return config;
}

TEST(WeightsEma, FollowsTheWeights) {
  const auto trainable = parameters();
  WeightsEma ema(trainable, config_with(0.75, false));
  const at::Tensor weights = trainable[1].tensor.detach();
  weights.fill_(5);
  ema.update(1);
  const auto state = ema.state("ema/");
  ASSERT_EQ(state.size(), 2u);
  EXPECT_EQ(state[1].name, "ema/b");
  EXPECT_TRUE(at::equal(state[1].tensor, at::full({4}, 2.0)));
  weights.fill_(10);
  ema.update(2);
  EXPECT_TRUE(at::equal(state[1].tensor, at::full({4}, 4.0)));
  ema.reset();
  EXPECT_TRUE(at::equal(state[1].tensor, weights));
}

TEST(WeightsEma, SwapsAndSwapsBackToTheLastBit) {
  const auto trainable = parameters();
  WeightsEma ema(trainable, config_with(0.3, false));
  trainable[0].tensor.detach().mul_(1.1);
  ema.update(1);
  const at::Tensor weights = trainable[0].tensor.detach().clone(), average = ema.state("")[0].tensor.clone();
  ASSERT_FALSE(at::equal(weights, average));
  {
    const EmaInPlace averaged(ema);
    EXPECT_TRUE(at::equal(trainable[0].tensor, average));
  }
  EXPECT_TRUE(at::equal(trainable[0].tensor, weights));
  EXPECT_TRUE(at::equal(ema.state("")[0].tensor, average));
}

TEST(WeightsEma, WarmUpIsTimmsCurve) {
  EXPECT_EQ(ema_decay(config_with(0.9999, false), 1), 0.9999);
  const EmaConfig warm = config_with(0.9999, true);
  EXPECT_EQ(ema_decay(warm, 1), 0) << "the first step's weights as they are";
  EXPECT_DOUBLE_EQ(ema_decay(warm, 8), 0.75);
  EXPECT_DOUBLE_EQ(ema_decay(warm, 1000), 0.99);
  EXPECT_EQ(ema_decay(warm, 100000000), 0.9999);
}

}  // namespace
}  // namespace snell::train
