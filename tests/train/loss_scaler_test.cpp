#include "snell/train/loss_scaler.h"

#include <gtest/gtest.h>

#include "snell/core/error.h"

namespace snell::train {
namespace {

TEST(LossScaler, HalvesAfterAnOverflowAndDoublesAfterManyGoodSteps) {
  LossScaler scaler(65536);
  EXPECT_EQ(scaler.scale(), 65536);
  for (int i = 0; i < 1999; ++i) scaler.update(true);
  EXPECT_EQ(scaler.scale(), 65536);
  scaler.update(true);
  EXPECT_EQ(scaler.scale(), 131072);
  for (int i = 0; i < 1999; ++i) scaler.update(true);
  scaler.update(false);  // counting starts anew
  EXPECT_EQ(scaler.scale(), 65536);
  for (int i = 0; i < 1999; ++i) scaler.update(true);
  EXPECT_EQ(scaler.scale(), 65536);
  scaler.update(true);
  EXPECT_EQ(scaler.scale(), 131072);
  EXPECT_EQ(scaler.skipped(), 1);
}

TEST(LossScaler, GivesUpBelowOne) {
  LossScaler scaler(65536);
  for (int i = 0; i < 16; ++i) scaler.update(false);
  EXPECT_EQ(scaler.scale(), 1);
  EXPECT_FALSE(scaler.exhausted());
  scaler.update(false);
  EXPECT_TRUE(scaler.exhausted());
  EXPECT_EQ(scaler.skipped(), 17);
}

TEST(LossScaler, DividesGradientsExactly) {
  const LossScaler scaler(65536);
  at::Tensor a = at::zeros({3}).requires_grad_(true), without = at::zeros({2}).requires_grad_(true);
  a.mutable_grad() = at::tensor({65536.0f, 3.0f, -1e30f});
  scaler.unscale({{"a", a}, {"without", without}});
  EXPECT_TRUE(at::equal(a.grad(), at::tensor({1.0f, 3.0f / 65536, -1e30f / 65536})));
  EXPECT_FALSE(without.grad().defined());
}

TEST(LossScaler, GoesOnFromItsState) {
  LossScaler before(65536), after(1024);
  for (const bool finite : {false, true, false, true, true}) before.update(finite);
  const auto from = before.state(), to = after.state();
  ASSERT_EQ(from.size(), to.size());
  for (size_t i = 0; i < from.size(); ++i) {
    EXPECT_EQ(from[i].name, to[i].name);
    at::Tensor(to[i].tensor).copy_(from[i].tensor);
  }
  after.check_loaded();
  EXPECT_EQ(after.scale(), 16384);
  EXPECT_EQ(after.skipped(), 2);
  for (LossScaler* scaler : {&before, &after}) {
    for (int i = 0; i < 1998; ++i) scaler->update(true);
  }
  EXPECT_EQ(before.scale(), 32768);
  EXPECT_EQ(after.scale(), 32768);
}

TEST(LossScaler, RefusesAStateThatNoneOfItsStepsMade) {
  for (const double scale :
       {0.0, -1.0, 0.25, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    LossScaler scaler(65536);
    at::Tensor(scaler.state()[0].tensor).fill_(scale);
    EXPECT_THROW(scaler.check_loaded(), core::WeightsError) << scale;
  }
  for (const size_t count : {1u, 2u}) {
    LossScaler scaler(65536);
    at::Tensor(scaler.state()[count].tensor).fill_(-1);
    EXPECT_THROW(scaler.check_loaded(), core::WeightsError);
  }
}

}  // namespace
}  // namespace snell::train
