// The fused road against the same thing out of ATen operations: every rule, norm and odd shape, in both types; the same
// bits for any number of threads.
#include "snell/peft/fused.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "snell/core/error.h"
#include "snell/peft/quantile.h"
#include "snell/peft/weight_delta.h"

namespace snell::peft {
namespace {

struct Case {
  int64_t in, out, rank, heads;
  double norm_p, sparsity;
  std::string name() const {
    return core::str(in, "x", out, " rank ", rank, " heads ", heads, " p ", norm_p, " s ", sparsity);
  }
};

std::unique_ptr<Sparsifier> sparsifier_of(KeepRule rule, double sparsity) {
  if (rule == KeepRule::kAll) return std::make_unique<KeepAll>();
  if (rule == KeepRule::kHardThreshold) return std::make_unique<HardThreshold>(sparsity);
  return std::make_unique<SoftThreshold>(sparsity);
}

KernelDelta make_delta(const Case& c, KeepRule rule, at::ScalarType dtype) {
  KernelDelta delta("layer", {c.in, c.out, c.rank, c.heads, c.norm_p}, sparsifier_of(rule, c.sparsity),
                    {dtype, at::kCPU});
  delta.init(static_cast<uint64_t>(c.in * 7 + c.out));
  return delta;
}

double largest(const at::Tensor& t) {
  return t.numel() == 0 ? 0 : t.abs().max().item<double>();
}

// |a − b| over the largest |b|, entries aside that lie so near the threshold that rounding decides on them.
double error_off_threshold(const at::Tensor& a, const at::Tensor& b, const at::Tensor& kernel_IO,
                           const at::Tensor& threshold) {
  at::Tensor difference = (a.to(at::kDouble) - b.to(at::kDouble)).abs();
  if (threshold.defined()) {
    const at::Tensor k = kernel_IO.to(at::kDouble).abs();
    difference.masked_fill_((k - threshold.to(at::kDouble)).abs() <= 4e-6 * largest(k), 0);
  }
  return largest(difference) / std::max(largest(b), 1e-30);
}

struct Both {
  at::Tensor delta_IO, threshold;
  std::vector<at::Tensor> grads;
};

Both fused_road(const KernelDelta& delta, const at::Tensor& base_OI, const at::Tensor& grad_OI) {
  at::Tensor weight_OI = at::empty_like(base_OI);
  const at::Tensor threshold = delta.merge_into(weight_OI, base_OI, {});
  at::Tensor again_OI = at::empty_like(base_OI);
  delta.merge_into(again_OI, base_OI, threshold);
  EXPECT_TRUE(at::equal(weight_OI, again_OI)) << "the rebuild differs from the forward pass";
  return {(weight_OI - base_OI).t(), threshold, delta.factor_grads(grad_OI, threshold)};
}

Both aten_road(const KernelDelta& delta, const at::Tensor& grad_OI, const at::Tensor& threshold) {
  const Merged merged = delta.merge(threshold);
  return {merged.delta_IO, merged.threshold, delta.factor_grads(merged, grad_OI.t())};
}

void check_case(const Case& c, KeepRule rule, at::ScalarType dtype) {
  SCOPED_TRACE(core::str(c.name(), " rule ", static_cast<int>(rule), " ", c10::toString(dtype)));
  at::manual_seed(5);
  const double exact = dtype == at::kDouble ? 1e-12 : 1e-5;
  const KernelDelta delta = make_delta(c, rule, dtype), wide = make_delta(c, rule, at::kDouble);
  ASSERT_TRUE(fused_road_exists(delta.factors()[0].tensor, c.norm_p) || c.norm_p == 3);
  const at::Tensor grad_OI = at::randn({c.out, c.in}, at::kDouble);
  const Both fused = fused_road(delta, at::zeros({c.out, c.in}, dtype), grad_OI.to(dtype));
  // The same start values in both types, rounded.
  for (size_t i = 0; i < 2; ++i) wide.factors()[i].tensor.detach().copy_(delta.factors()[i].tensor.detach());
  const Both expected = aten_road(wide, grad_OI, {});
  const at::Tensor kernel_IO = make_delta(c, KeepRule::kAll, at::kDouble).merge({}).delta_IO;
  ASSERT_EQ(fused.threshold.defined(), rule != KeepRule::kAll);
  if (fused.threshold.defined()) {
    EXPECT_NEAR(fused.threshold.item<double>(), expected.threshold.item<double>(), exact * largest(kernel_IO));
  }
  EXPECT_LE(error_off_threshold(fused.delta_IO, expected.delta_IO, kernel_IO, expected.threshold), exact);
  if (dtype == at::kFloat && rule == KeepRule::kHardThreshold) return;  // an entry that flips moves the sums
  for (size_t i = 0; i < fused.grads.size(); ++i) {
    EXPECT_LE(error_off_threshold(fused.grads[i], expected.grads[i], {}, {}), dtype == at::kDouble ? 1e-11 : 1e-4) << i;
  }
}

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
  for (const auto rule : {KeepRule::kAll, KeepRule::kHardThreshold, KeepRule::kSoftThreshold}) {
    const KernelDelta delta = make_delta({300, 200, 8, 2, 2, 0.5}, rule, at::kFloat);
    delta.factors()[0].tensor.detach()[1][7][2] = std::numeric_limits<float>::quiet_NaN();
    at::Tensor weight_OI = at::empty({200, 300});
    const at::Tensor threshold = delta.merge_into(weight_OI, {}, {});
    EXPECT_TRUE(weight_OI.select(1, 7).isnan().all().item<bool>());
    if (threshold.defined()) {
      EXPECT_TRUE(threshold.isnan().item<bool>());
    }
    const auto grads = delta.factor_grads(at::ones({200, 300}), threshold);
    EXPECT_TRUE(grads[0][1][7].isnan().any().item<bool>());
  }
}

// Another type than the factors': rounded once.
TEST(Fused, SixteenBitWeightsAreRoundedOnce) {
  const KernelDelta delta = make_delta({90, 70, 8, 2, 2, 0.5}, KeepRule::kHardThreshold, at::kFloat);
  at::Tensor wide_OI = at::empty({70, 90}), narrow_OI = at::empty({70, 90}, at::kBFloat16);
  const at::Tensor base_OI = at::randn({70, 90}, at::kBFloat16);
  delta.merge_into(wide_OI, {}, {});
  delta.merge_into(narrow_OI, base_OI, {});
  EXPECT_TRUE(at::equal(narrow_OI, (base_OI.to(at::kFloat) + wide_OI).to(at::kBFloat16)));
}

TEST(Fused, AWrongShapeIsAnError) {
  const KernelDelta delta = make_delta({9, 7, 2, 2, 2, 0.5}, KeepRule::kAll, at::kFloat);
  EXPECT_THROW(delta.merge_into(at::empty({9, 7}), {}, {}), core::Error);
  EXPECT_THROW(delta.merge_into(at::empty({7, 9}), at::empty({7, 8}), {}), core::Error);
  EXPECT_THROW(delta.factor_grads(at::empty({9, 7}), {}), core::Error);
}

}  // namespace
}  // namespace snell::peft
