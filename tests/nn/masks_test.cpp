#include "snell/nn/masks.h"

#include <gtest/gtest.h>

namespace snell::nn {
namespace {

constexpr auto kPurpose = core::Purpose::kTest;

core::StepContext at_slot(uint32_t first_slot) {
  return {7, 3, first_slot, true};
}

TEST(Masks, DependOnTheSlotAndNotOnTheShard) {
  const at::Tensor whole = dropout_factors(at::empty({6, 5, 7}), 0.3, at_slot(10), kPurpose, 2);
  const at::Tensor part = dropout_factors(at::empty({2, 5, 7}), 0.3, at_slot(13), kPurpose, 2);
  EXPECT_TRUE(at::equal(whole.slice(0, 3, 5), part));
  const at::Tensor paths = drop_path_factors(at::empty({6, 5, 7}), 0.5, at_slot(10), kPurpose, 2);
  EXPECT_EQ(paths.sizes(), at::IntArrayRef({6, 1, 1}));
  EXPECT_TRUE(at::equal(paths.slice(0, 3, 5), drop_path_factors(at::empty({2, 5, 7}), 0.5, at_slot(13), kPurpose, 2)));
}

TEST(Masks, TheSameInEveryType) {
  const at::Tensor kept = dropout_factors(at::empty({4, 33}), 0.5, at_slot(0), kPurpose, 1) != 0;
  for (const auto dtype : {at::kDouble, at::kHalf, at::kBFloat16}) {
    EXPECT_TRUE(at::equal(dropout_factors(at::empty({4, 33}, dtype), 0.5, at_slot(0), kPurpose, 1) != 0, kept));
  }
}

// One pass over the input: the same bits as with the factors written out.
TEST(Masks, DropoutIsTheFactorsTimesTheInput) {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    for (const int64_t features : {1, 3, 33, 5000, 20001}) {
      const at::Tensor x = at::randn({3, features}).to(dtype);
      const at::Tensor expected = x * dropout_factors(x, 0.3, at_slot(4), kPurpose, 9);
      EXPECT_TRUE(at::equal(dropout(x, 0.3, at_slot(4), kPurpose, 9), expected)) << features << dtype;
    }
  }
  EXPECT_TRUE(dropout(at::full({2, 64}, NAN), 0.5, at_slot(0), kPurpose, 1).isnan().all().item<bool>());
  EXPECT_EQ(dropout(at::empty({0, 5}), 0.5, at_slot(0), kPurpose, 1).numel(), 0);
}

TEST(Masks, ShareAndScale) {
  const at::Tensor factors = dropout_factors(at::empty({50, 4001}, at::kDouble), 0.1, at_slot(0), kPurpose, 1);
  EXPECT_NEAR(factors.mean().item<double>(), 1.0, 0.005);
  EXPECT_NEAR((factors == 0).to(at::kDouble).mean().item<double>(), 0.1, 0.003);
  EXPECT_DOUBLE_EQ(factors.max().item<double>(), 1.0 / 0.9);
}

TEST(Masks, LayersStepsAndSeedsDiffer) {
  const auto draw = [](core::StepContext context, uint32_t layer) {
    return dropout_factors(at::empty({2, 64}), 0.5, context, kPurpose, layer);
  };
  const at::Tensor base = draw({7, 3, 0, true}, 1);
  EXPECT_FALSE(at::equal(base, draw({7, 3, 0, true}, 2)));
  EXPECT_FALSE(at::equal(base, draw({7, 4, 0, true}, 1)));
  EXPECT_FALSE(at::equal(base, draw({8, 3, 0, true}, 1)));
}

}  // namespace
}  // namespace snell::nn
