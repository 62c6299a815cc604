// The fused CUDA kernels against ATen's operations in float64 on the CPU, for every rule, norm and odd shape; and
// against the CPU's fused road where order statistics leave no room for rounding.
#include <gtest/gtest.h>

#include "peft/fused_roads.h"
#include "snell/peft/quantile.h"

namespace snell::peft {
namespace {

constexpr KeepRule kRules[] = {KeepRule::kAll, KeepRule::kHardThreshold, KeepRule::kSoftThreshold};

TEST(FusedGpu, TheKernelsAgreeAndServe) {
  EXPECT_TRUE(cuda_kernels_agree());
}

TEST(FusedGpu, AgreesWithAtenForOddShapes) {
  const std::vector<Case> cases{{1, 1, 2, 2, 2, 0.5},     {1, 300, 6, 2, 2, 0.5},      {300, 1, 6, 2, 1, 0.5},
                                {63, 65, 10, 2, 2, 0},    {64, 64, 32, 2, 2, 1},       {65, 63, 9, 3, 1, 0.995},
                                {130, 257, 2, 2, 2, 0.5}, {257, 130, 24, 8, 2, 1e-6},  {4099, 5, 14, 2, 2, 0.9},
                                {5, 4099, 34, 2, 1, 0.9}, {700, 500, 64, 2, 2, 0.995}, {50, 40, 12, 4, 3, 0.5},
                                {500, 700, 5, 1, 2, 0.3}, {768, 3072, 32, 2, 2, 0.9},  {40, 30, 300, 2, 2, 0.7}};
  for (const auto& c : cases) {
    for (const auto rule : kRules) {
      for (const auto dtype : {at::kDouble, at::kFloat}) check_case(c, rule, dtype, at::kCUDA);
    }
  }
}

// Sums have an order of their own in every kernel: two runs have equal bits.
TEST(FusedGpu, GivesTheSameBitsTwice) {
  const KernelDelta delta = make_delta({1024, 4096, 32, 2, 2, 0.9}, KeepRule::kHardThreshold, at::kFloat, at::kCUDA);
  const auto options = delta.factors()[0].tensor.options();
  const at::Tensor base_OI = at::randn({4096, 1024}, options), grad_OI = at::randn({4096, 1024}, options);
  const Both first = fused_road(delta, base_OI, grad_OI);
  for (int i = 0; i < 5; ++i) {
    const Both next = fused_road(delta, base_OI, grad_OI);
    EXPECT_TRUE(at::equal(next.delta_IO, first.delta_IO));
    EXPECT_TRUE(at::equal(next.threshold, first.threshold));
    for (size_t j = 0; j < 2; ++j) EXPECT_TRUE(at::equal(next.grads[j], first.grads[j]));
  }
}

// The selected threshold is the order statistic of the very values that the kernel made.
TEST(FusedGpu, MoreThanTwoToTheTwentyFourEntries) {
  constexpr int64_t kSide = 4100;
  for (const double sparsity : {0.0, 0.5, 0.995, 1.0}) {
    const Case c{kSide, kSide, 2, 2, 2, sparsity};
    at::Tensor kernel_OI = at::empty({kSide, kSide}, at::device(at::kCUDA)), weight_OI = at::empty_like(kernel_OI);
    make_delta(c, KeepRule::kAll, at::kFloat, at::kCUDA).merge_into(kernel_OI, {}, {});
    const at::Tensor threshold =
        make_delta(c, KeepRule::kHardThreshold, at::kFloat, at::kCUDA).merge_into(weight_OI, {}, {});
    const QuantileRank rank = quantile_rank(sparsity, kSide * kSide, at::kFloat);
    const at::Tensor sorted = std::get<0>(kernel_OI.abs().flatten().sort());
    const int64_t next = std::min(rank.below + 1, kSide * kSide - 1);
    const float below = sorted[rank.below].item<float>(), above = sorted[next].item<float>();
    EXPECT_EQ(threshold.item<float>(), interpolate(below, above, static_cast<float>(rank.weight))) << sparsity;
  }
}

TEST(FusedGpu, EqualValuesZeroRowsAndDenormals) {
  for (const auto rule : kRules) {
    for (const double scale : {0.0, 1.0, 1e-42}) {
      SCOPED_TRACE(core::str("rule ", static_cast<int>(rule), " scale ", scale));
      const Case c{400, 300, 8, 2, 2, 0.5};
      const KernelDelta gpu = make_delta(c, rule, at::kFloat, at::kCUDA), cpu = make_delta(c, rule, at::kFloat);
      for (size_t i = 0; i < 2; ++i) {
        gpu.factors()[i].tensor.detach().fill_(i == 0 ? scale : 0);  // every distance is the same
        cpu.factors()[i].tensor.detach().fill_(i == 0 ? scale : 0);
      }
      const auto ones = at::ones({300, 400});
      const Both found = on_cpu(fused_road(gpu, at::zeros({300, 400}, at::device(at::kCUDA)), ones.cuda()));
      const Both expected = fused_road(cpu, at::zeros({300, 400}), ones);
      EXPECT_TRUE(at::allclose(found.delta_IO, expected.delta_IO, 1e-5, 0));
      for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(at::allclose(found.grads[i], expected.grads[i], 1e-4, 1e-6)) << i;
    }
  }
}

TEST(FusedGpu, NanInAFactorIsSeen) {
  check_nan_is_seen(at::kCUDA);
}

TEST(FusedGpu, SixteenBitWeightsAreRoundedOnce) {
  check_sixteen_bits(at::kCUDA);
}

}  // namespace
}  // namespace snell::peft
