// A kernel layer's ΔW and its factors' gradients on the two roads, fused and out of ATen's operations, and how far
// apart they are.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>

#include "snell/core/text.h"
#include "snell/peft/fused.h"
#include "snell/peft/weight_delta.h"

namespace snell::peft {

struct Case {
  int64_t in, out, rank, heads;
  double norm_p, sparsity;
  std::string name() const {
    return core::str(in, "x", out, " rank ", rank, " heads ", heads, " p ", norm_p, " s ", sparsity);
  }
};

inline std::unique_ptr<Sparsifier> sparsifier_of(KeepRule rule, double sparsity) {
  if (rule == KeepRule::kAll) return std::make_unique<KeepAll>();
  if (rule == KeepRule::kHardThreshold) return std::make_unique<HardThreshold>(sparsity);
  return std::make_unique<SoftThreshold>(sparsity);
}

inline KernelDelta make_delta(const Case& c, KeepRule rule, at::ScalarType dtype, c10::Device device = at::kCPU) {
  KernelDelta delta("layer", {c.in, c.out, c.rank, c.heads, c.norm_p}, sparsifier_of(rule, c.sparsity),
                    {dtype, device});
  delta.init(static_cast<uint64_t>(c.in * 7 + c.out));
  return delta;
}

inline double largest(const at::Tensor& t) {
  return t.numel() == 0 ? 0 : t.abs().max().item<double>();
}

// |a − b| over the largest |b|, entries aside that lie so near the threshold that rounding decides on them.
inline double error_off_threshold(const at::Tensor& a, const at::Tensor& b, const at::Tensor& kernel_IO,
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

inline Both fused_road(const KernelDelta& delta, const at::Tensor& base_OI, const at::Tensor& grad_OI) {
  at::Tensor weight_OI = at::empty_like(base_OI);
  const at::Tensor threshold = delta.merge_into(weight_OI, base_OI, {});
  at::Tensor again_OI = at::empty_like(base_OI);
  delta.merge_into(again_OI, base_OI, threshold);
  EXPECT_TRUE(at::equal(weight_OI, again_OI)) << "the rebuild differs from the forward pass";
  return {(weight_OI - base_OI).t(), threshold, delta.factor_grads(grad_OI, threshold)};
}

inline Both on_cpu(const Both& both) {
  return {both.delta_IO.cpu(),
          both.threshold.defined() ? both.threshold.cpu() : both.threshold,
          {both.grads.at(0).cpu(), both.grads.at(1).cpu()}};
}

inline Both aten_road(const KernelDelta& delta, const at::Tensor& grad_OI, const at::Tensor& threshold) {
  const Merged merged = delta.merge(threshold);
  return {merged.delta_IO, merged.threshold, delta.factor_grads(merged, grad_OI.t())};
}

// The fused road on `device` in `dtype` against ATen's operations in float64 on the CPU.
inline void check_case(const Case& c, KeepRule rule, at::ScalarType dtype, c10::Device device = at::kCPU) {
  SCOPED_TRACE(core::str(c.name(), " rule ", static_cast<int>(rule), " ", c10::toString(dtype)));
  at::manual_seed(5);
  const double exact = dtype == at::kDouble ? 1e-12 : 1e-5;
  const KernelDelta delta = make_delta(c, rule, dtype, device), wide = make_delta(c, rule, at::kDouble);
  ASSERT_TRUE(fused_road_exists(delta.factors()[0].tensor, c.norm_p) || c.norm_p == 3);
  const at::Tensor grad_OI = at::randn({c.out, c.in}, at::kDouble);
  const Both fused = on_cpu(
      fused_road(delta, at::zeros({c.out, c.in}, delta.factors()[0].tensor.options()), grad_OI.to(device, dtype)));
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

inline void check_nan_is_seen(c10::Device device) {
  for (const auto rule : {KeepRule::kAll, KeepRule::kHardThreshold, KeepRule::kSoftThreshold}) {
    const KernelDelta delta = make_delta({300, 200, 8, 2, 2, 0.5}, rule, at::kFloat, device);
    delta.factors()[0].tensor.detach()[1][7][2] = std::numeric_limits<float>::quiet_NaN();
    at::Tensor weight_OI = at::empty({200, 300}, at::device(device));
    const at::Tensor threshold = delta.merge_into(weight_OI, {}, {});
    EXPECT_TRUE(weight_OI.select(1, 7).isnan().all().item<bool>());
    if (threshold.defined()) {
      EXPECT_TRUE(threshold.isnan().item<bool>());
    }
    const auto grads = delta.factor_grads(at::ones({200, 300}, at::device(device)), threshold);
    EXPECT_TRUE(grads[0][1][7].isnan().any().item<bool>());
  }
}

// Another type than the factors': rounded once.
inline void check_sixteen_bits(c10::Device device) {
  const KernelDelta delta = make_delta({90, 70, 8, 2, 2, 0.5}, KeepRule::kHardThreshold, at::kFloat, device);
  const auto options = at::device(device);
  at::Tensor wide_OI = at::empty({70, 90}, options), narrow_OI = at::empty({70, 90}, options.dtype(at::kBFloat16));
  const at::Tensor base_OI = at::randn({70, 90}, options.dtype(at::kBFloat16));
  delta.merge_into(wide_OI, {}, {});
  delta.merge_into(narrow_OI, base_OI, {});
  EXPECT_TRUE(at::equal(narrow_OI, (base_OI.to(at::kFloat) + wide_OI).to(at::kBFloat16)));
}

}  // namespace snell::peft
