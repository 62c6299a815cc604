#include <ATen/Parallel.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <array>
#include <functional>

#include "calibrate_rates.h"
#include "snell/core/timer.h"
#include "snell/peft/branch.h"
#include "snell/peft/tuning.h"
#include "snell/plan/cost.h"
#include "snell/train/bench_step.h"
#include "snell/train/op_trace.h"

namespace snell::train {
namespace {

using plan::Op;
using plan::OpKind;
using plan::Rates;
using Sync = std::function<void()>;

constexpr double kEnoughSeconds = 0.4;  // of one measurement
constexpr int kSteps = 3;               // of a model, after one to warm up

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// --- matrix products ---

double gemm_gflops(int64_t m, int64_t n, int64_t k, at::ScalarType type) {
  const at::Tensor a = at::randn({m, k}).to(type), b = at::randn({k, n}).to(type);
  at::mm(a, b);
  std::vector<double> seconds;
  const core::Timer all;
  while (all.seconds() < kEnoughSeconds || seconds.size() < 3) {
    const core::Timer one;
    at::mm(a, b);
    seconds.push_back(one.seconds());
  }
  return 2e-9 * static_cast<double>(m * n) * static_cast<double>(k) / median(seconds);
}

// One product with all sides long and one a side with that side short tell peak and half-lengths: four equations that
// are solved by repetition.
void fit_gemm(Rates& rates, const Sync& sync) {
  constexpr int64_t kLong = 1536, kShort = 64;
  const auto measured = [&](int64_t m, int64_t n, int64_t k) {
    sync();
    return gemm_gflops(m, n, k, at::kFloat);
  };
  const double all = measured(kLong, kLong, kLong);
  const std::array<double, 3> with_short{measured(kShort, kLong, kLong), measured(kLong, kShort, kLong),
                                         measured(kLong, kLong, kShort)};
  std::array<double, 3> half{};
  const auto reached = [](double side, double h) { return side / (side + h); };
  double peak = all;
  for (int round = 0; round < 50; ++round) {
    peak = all;
    for (const double h : half) peak /= reached(kLong, h);
    for (size_t i = 0; i < 3; ++i) {
      double rest = peak;
      for (size_t j = 0; j < 3; ++j) rest *= j == i ? 1 : reached(kLong, half[j]);
      half[i] = std::max(0.0, kShort * (rest / with_short[i] - 1));
    }
  }
  rates.gemm_gflops = peak;
  rates.gemm_half_m = half[0];
  rates.gemm_half_n = half[1];
  rates.gemm_half_k = half[2];
  sync();
  const double ratio = gemm_gflops(512, 512, 512, at::kBFloat16) / gemm_gflops(512, 512, 512, at::kFloat);
  rates.gemm_gflops_16bit = peak * ratio;
}

// --- operations within steps ---

JobConfig model_config(bool swin, bool full) {
  JobConfig c;
  c.run.threads = at::get_num_threads();
  c.run.device = "cpu";
  c.data.batch_size = 8;
  auto& b = c.backbone;
  if (swin) {
    b.name = "swin";
    b.patch_size = 4;
    b.embed_dim = 96;
    b.depths = {2, 2, 1, 1};
    b.num_heads = 3;
    c.data.batch_size = 4;
  } else {
    b.embed_dim = 576;
    b.depth = 2;
    b.num_heads = 9;
  }
  c.adapter.name = full ? "full" : "snell";
  c.adapter.sparsity = full ? 0 : 0.9;
  c.adapter.dropout = full ? 0 : 0.1;
  return c;
}

struct Work {
  double amount = 0, seconds = 0;
  double per_s() const { return seconds > 0 ? amount / seconds : 0; }
};
using Works = std::array<Work, static_cast<size_t>(OpKind::kCount)>;

bool by_flops(OpKind kind) {
  return kind == OpKind::kAttention || kind == OpKind::kAttentionBackward || kind == OpKind::kConvolution;
}

// Adds up what a model's steps do and how long it takes; matrix products by what `rates` foretell.
void add_steps(Works& works, const JobConfig& config, const Rates& rates, const Sync& sync) {
  BenchStep step(config, /*num_classes=*/100);
  step.run();
  sync();
  const OpObserver observer([&](const Op& op, double seconds) {
    Work& work = works[static_cast<size_t>(op.kind)];
    work.seconds += seconds;
    work.amount += op.kind == OpKind::kGemm ? plan::op_seconds(op, rates, true)
                   : by_flops(op.kind)      ? op.flops
                                            : op.bytes;
  });
  for (int i = 0; i < kSteps; ++i) step.run();
}

void fit_steps(Rates& rates, const Sync& sync) {
  Works works;
  for (const bool swin : {false, true}) {
    for (const bool full : {false, true}) add_steps(works, model_config(swin, full), rates, sync);
  }
  const auto giga = [&](OpKind kind) { return works[static_cast<size_t>(kind)].per_s() * 1e-9; };
  const double foretold_to_taken = works[static_cast<size_t>(OpKind::kGemm)].per_s();
  rates.gemm_gflops *= foretold_to_taken;
  rates.gemm_gflops_16bit *= foretold_to_taken;
  rates.attention_gflops = giga(OpKind::kAttention);
  rates.attention_backward_gflops = giga(OpKind::kAttentionBackward);
  rates.convolution_gflops = giga(OpKind::kConvolution);
  rates.memory_gbyte = giga(OpKind::kElementwise);
  rates.norm_gbyte = giga(OpKind::kNorm);
  rates.norm_backward_gbyte = giga(OpKind::kNormBackward);
  rates.gelu_gbyte = giga(OpKind::kGelu);
  rates.gelu_backward_gbyte = giga(OpKind::kGeluBackward);
  rates.softmax_gbyte = giga(OpKind::kSoftmax);
  rates.copy_gbyte = giga(OpKind::kCopy);
  rates.random_gbyte = giga(OpKind::kRandom);
  rates.update_gbyte = giga(OpKind::kUpdate);
}

// --- ΔW ---

struct DeltaTimes {
  double select = 0, build = 0, grads = 0;  // nanoseconds an entry
};

DeltaTimes delta_times(int64_t rank, double sparsity, const Sync& sync) {
  constexpr int64_t kIn = 768, kOut = 1536;
  peft::AdapterConfig config;
  config.name = "snell";
  config.rank = rank;
  config.sparsity = sparsity;
  const nn::TensorPlace place{at::kFloat, at::kCPU};
  const std::shared_ptr<peft::Branch> branch = peft::adapters().get("snell")("layer", kIn, kOut, config, place);
  branch->init(/*seed=*/0);
  const auto& delta = dynamic_cast<const peft::DeltaBranch&>(*branch).delta();
  const at::Tensor frozen_OI = at::randn({kOut, kIn}), weight_OI = at::empty_like(frozen_OI);
  const at::Tensor grad_OI = at::randn({kOut, kIn});
  std::array<std::vector<double>, 3> seconds;
  sync();
  const core::Timer all;
  while (all.seconds() < kEnoughSeconds || seconds[0].size() < 3) {
    core::Timer one;
    const at::Tensor threshold = delta.merge_into(weight_OI, frozen_OI, {});
    seconds[0].push_back(one.seconds());
    one.reset();
    delta.merge_into(weight_OI, frozen_OI, threshold);
    seconds[1].push_back(one.seconds());
    one.reset();
    delta.factor_grads(grad_OI, threshold);
    seconds[2].push_back(one.seconds());
  }
  const auto ns = [&](size_t i) { return median(seconds[i]) * 1e9 / static_cast<double>(kIn * kOut); };
  return {ns(0), ns(1), ns(2)};
}

void fit_delta(Rates& rates, const Sync& sync) {
  constexpr int64_t kMany = 32, kFew = 8;
  constexpr double kSparsity = 0.9;
  const DeltaTimes many = delta_times(kMany, kSparsity, sync), few = delta_times(kFew, kSparsity, sync);
  const DeltaTimes all_stay = delta_times(kMany, 0, sync);
  constexpr double kColumns = kMany - kFew, kKept = 1 - kSparsity;
  rates.delta_build_ns_column = std::max(0.0, (many.build - few.build) / kColumns);
  rates.delta_build_ns = std::max(0.0, few.build - kFew * rates.delta_build_ns_column);
  rates.delta_select_ns = std::max(0.0, many.select - many.build);
  const double column = std::max(0.0, (many.grads - few.grads) / kColumns);
  rates.delta_grads_ns_kept_column = std::max(0.0, (all_stay.grads - many.grads) / (kMany * kSparsity));
  rates.delta_grads_ns_column = std::max(0.0, column - kKept * rates.delta_grads_ns_kept_column);
  rates.delta_grads_ns = std::max(0.0, few.grads - kFew * column);
}

}  // namespace

plan::Rates measure_rates(const Sync& sync) {
  Rates rates;
  fit_gemm(rates, sync);
  fit_steps(rates, sync);
  fit_delta(rates, sync);
  return rates;
}

}  // namespace snell::train
