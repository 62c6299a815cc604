// The fused road against the same thing out of ATen operations: every rule, norm and odd shape, in both types; the same
// bits for any number of threads.
#include "snell/peft/fused.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "peft/fused_roads.h"
#include "snell/core/error.h"
#include "snell/peft/quantile.h"

namespace snell::peft {
namespace {

TEST(Fused, AgreesWithAtenForOddShapes) {
  const std::vector<Case> cases{{1, 1, 2, 2, 2, 0.5},     {1, 300, 6, 2, 2, 0.5},      {300, 1, 6, 2, 1, 0.5},
                                {63, 65, 10, 2, 2, 0},    {64, 64, 32, 2, 2, 1},       {65, 63, 9, 3, 1, 0.995},
                                {130, 257, 2, 2, 2, 0.5}, {257, 130, 24, 8, 2, 1e-6},  {4099, 5, 14, 2, 2, 0.9},
                                {5, 4099, 34, 2, 1, 0.9}, {700, 500, 64, 2, 2, 0.995}, {50, 40, 12, 4, 3, 0.5},
                                {500, 700, 5, 1, 2, 0.3}};
  for (const auto& c : cases) {
    for (const auto rule : {KeepRule::kAll, KeepRule::kHardThreshold, KeepRule::kSoftThreshold}) {
      for (const auto dtype : {at::kDouble, at::kFloat}) check_case(c, rule, dtype);
    }
  }
}

TEST(Fused, GivesTheSameBitsForAnyNumberOfThreads) {
  const int threads = at::get_num_threads();
  for (const auto& [in, out] : {std::pair<int64_t, int64_t>{700, 300}, {300, 700}}) {
    const KernelDelta delta = make_delta({in, out, 32, 2, 2, 0.7}, KeepRule::kHardThreshold, at::kFloat);
    const at::Tensor base_OI = at::randn({out, in}), grad_OI = at::randn({out, in});
    at::set_num_threads(1);
    const Both expected = fused_road(delta, base_OI, grad_OI);
    for (const int n : {2, 3, 5}) {
      at::set_num_threads(n);
      const Both found = fused_road(delta, base_OI, grad_OI);
      EXPECT_TRUE(at::equal(found.delta_IO, expected.delta_IO)) << n;
      for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(at::equal(found.grads[i], expected.grads[i])) << n;
    }
    at::set_num_threads(threads);
  }
}

// Direct differences do not cancel: rows that differ in their last bits only.
TEST(Fused, NearlyEqualRowsAreExact) {
  const Case c{200, 150, 32, 2, 2, 0};
  const KernelDelta narrow = make_delta(c, KeepRule::kAll, at::kFloat),
                    wide = make_delta(c, KeepRule::kAll, at::kDouble);
  at::manual_seed(2);
  const at::Tensor row = at::randn({2, 1, 16});
  for (size_t i = 0; i < 2; ++i) {
    at::Tensor factor = narrow.factors()[i].tensor.detach();
    factor.copy_(row * (1 + 3e-6 * at::randn(factor.sizes())));
    wide.factors()[i].tensor.detach().copy_(factor);
  }
  const at::Tensor grad_OI = at::randn({150, 200}, at::kDouble);
  const Both found = fused_road(narrow, at::zeros({150, 200}), grad_OI.to(at::kFloat));
  const Both expected = aten_road(wide, grad_OI, {});
  EXPECT_LE(error_off_threshold(found.delta_IO, expected.delta_IO, {}, {}), 1e-5);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_LE(error_off_threshold(found.grads[i], expected.grads[i], {}, {}), 1e-5) << i;
  }
}

TEST(Fused, EqualValuesZeroRowsAndDenormals) {
  for (const auto rule : {KeepRule::kAll, KeepRule::kHardThreshold, KeepRule::kSoftThreshold}) {
    for (const double scale : {0.0, 1.0, 1e-42}) {
      SCOPED_TRACE(core::str("rule ", static_cast<int>(rule), " scale ", scale));
      const KernelDelta delta = make_delta({400, 300, 8, 2, 2, 0.5}, rule, at::kFloat);
      for (size_t i = 0; i < 2; ++i) {
        at::Tensor factor = delta.factors()[i].tensor.detach();
        factor.fill_(i == 0 ? scale : 0);  // every distance is the same
      }
      const Both found = fused_road(delta, at::zeros({300, 400}), at::ones({300, 400}));
      const Both expected = aten_road(delta, at::ones({300, 400}), {});
      EXPECT_TRUE(at::allclose(found.delta_IO, expected.delta_IO, 1e-5, 0));
      if (found.threshold.defined()) {
        EXPECT_EQ(found.threshold.item<float>(), expected.threshold.item<float>());
      }
      for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(at::allclose(found.grads[i], expected.grads[i], 1e-4, 1e-6)) << i;
    }
  }
}

// Where a float32 cannot count the entries any more, nor torch.quantile take them.
TEST(Fused, MoreThanTwoToTheTwentyFourEntries) {
  constexpr int64_t kSide = 4100;
  const double sparsity = 0.995;
  const Case c{kSide, kSide, 2, 2, 2, sparsity};
  at::Tensor kernel_OI = at::empty({kSide, kSide}), weight_OI = at::empty({kSide, kSide});
  make_delta(c, KeepRule::kAll, at::kFloat).merge_into(kernel_OI, {}, {});
  const at::Tensor threshold = make_delta(c, KeepRule::kHardThreshold, at::kFloat).merge_into(weight_OI, {}, {});
  const QuantileRank rank = quantile_rank(sparsity, kSide * kSide, at::kFloat);
  EXPECT_EQ(rank.below, static_cast<int64_t>(sparsity * (kSide * kSide - 1)));
  float* k = kernel_OI.mutable_data_ptr<float>();
  for (int64_t i = 0; i < kSide * kSide; ++i) k[i] = std::abs(k[i]);
  std::nth_element(k, k + rank.below, k + kSide * kSide);
  const float below = k[rank.below], above = *std::min_element(k + rank.below + 1, k + kSide * kSide);
  EXPECT_EQ(threshold.item<float>(), interpolate(below, above, static_cast<float>(rank.weight)));
  const int64_t kept = kSide * kSide - 1 - rank.below;
  EXPECT_NEAR(static_cast<double>((weight_OI != 0).sum().item<int64_t>()), static_cast<double>(kept), 3);
}

TEST(Fused, NanInAFactorIsSeen) {
  check_nan_is_seen(at::kCPU);
}

TEST(Fused, SixteenBitWeightsAreRoundedOnce) {
  check_sixteen_bits(at::kCPU);
}

TEST(Fused, AWrongShapeIsAnError) {
  const KernelDelta delta = make_delta({9, 7, 2, 2, 2, 0.5}, KeepRule::kAll, at::kFloat);
  EXPECT_THROW(delta.merge_into(at::empty({9, 7}), {}, {}), core::Error);
  EXPECT_THROW(delta.merge_into(at::empty({7, 9}), at::empty({7, 8}), {}), core::Error);
  EXPECT_THROW(delta.factor_grads(at::empty({9, 7}), {}), core::Error);
}

}  // namespace
}  // namespace snell::peft
