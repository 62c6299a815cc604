// The closed forms of operations and collectives.
#include "snell/plan/cost.h"

#include <gtest/gtest.h>

#include "snell/plan/scaling.h"

namespace snell::plan {
namespace {

constexpr double kMega = 1e6;

Machine gpus() {
  Machine m;
  m.ranks_per_node = 8;
  m.intra_node_gbyte = 100;
  m.intra_node_latency_us = 2;
  m.inter_node_gbit = 400;
  m.inter_node_latency_us = 10;
  m.wire_efficiency = 1;
  return m;
}

TEST(OpCost, AGemmTakesItsFlopsAndShortSidesReachLess) {
  Rates rates;
  rates.gemm_gflops = 100;
  Op op{.kind = OpKind::kGemm, .flops = 2.0 * 64 * 128 * 256, .m = 64, .n = 128, .k = 256};
  EXPECT_DOUBLE_EQ(op_seconds(op, rates, true), op.flops / 100e9);
  rates.gemm_half_m = 64;
  EXPECT_DOUBLE_EQ(op_seconds(op, rates, true), 2 * op.flops / 100e9);
  rates.gemm_half_n = 128;
  rates.gemm_half_k = 256;
  EXPECT_DOUBLE_EQ(op_seconds(op, rates, true), 8 * op.flops / 100e9);
  op.element_size = 2;
  rates.gemm_gflops_16bit = 400;
  EXPECT_DOUBLE_EQ(op_seconds(op, rates, true), 2 * op.flops / 100e9);
}

TEST(OpCost, BytesByTheirKindsRateElseByMemorys) {
  Rates rates;
  rates.memory_gbyte = 10;
  const Op gelu{.kind = OpKind::kGelu, .bytes = 40 * kMega};
  EXPECT_DOUBLE_EQ(op_seconds(gelu, rates, true), 4e-3);
  rates.gelu_gbyte = 4;
  EXPECT_DOUBLE_EQ(op_seconds(gelu, rates, true), 10e-3);
  EXPECT_DOUBLE_EQ(op_seconds({.kind = OpKind::kElementwise, .bytes = 40 * kMega}, rates, true), 4e-3);
}

TEST(OpCost, DeltaByEntriesColumnsAndWhatStays) {
  Rates rates;
  rates.delta_build_ns = 1;
  rates.delta_build_ns_column = 0.1;
  rates.delta_select_ns = 2;
  rates.delta_grads_ns = 3;
  rates.delta_grads_ns_column = 0.1;
  rates.delta_grads_ns_kept_column = 0.5;
  Op build{.kind = OpKind::kDeltaBuild, .entries = 1e6, .columns = 32};
  EXPECT_DOUBLE_EQ(op_seconds(build, rates, true), 4.2e-3);
  build.selects = true;
  EXPECT_DOUBLE_EQ(op_seconds(build, rates, true), 6.2e-3);
  const Op grads{.kind = OpKind::kDeltaGrads, .entries = 1e6, .columns = 32, .kept = 0.1};
  EXPECT_DOUBLE_EQ(op_seconds(grads, rates, true), (3 + 3.2 + 1.6) * 1e-3);
}

TEST(OpCost, ACallIsAddedOnACpu) {
  Rates rates;
  rates.memory_gbyte = 1;
  rates.op_overhead_us = 10;
  const Op brief{.kind = OpKind::kElementwise, .bytes = 1e3};
  EXPECT_DOUBLE_EQ(op_seconds(brief, rates, true), 11e-6);
  EXPECT_DOUBLE_EQ(op_seconds(brief, rates, false), 1e-6);
}

TEST(CollectiveCost, OneRankSendsNothing) {
  const auto cost = collective_cost(Collective::kAllReduce, 1e9, {1, 8}, gpus());
  EXPECT_EQ(cost.total(), 0);
  EXPECT_EQ(cost.sent_bytes, 0);
}

TEST(CollectiveCost, BytesAreTheAlgorithms) {
  for (const int64_t n : {2, 3, 8, 64}) {
    const Ranks ranks{n, 8};
    const auto count = static_cast<double>(n);
    const auto sent = [&](Collective kind, double bytes) {
      return collective_cost(kind, bytes, ranks, gpus()).sent_bytes;
    };
    EXPECT_DOUBLE_EQ(sent(Collective::kAllReduce, kMega), 2 * (count - 1) / count * kMega);
    EXPECT_DOUBLE_EQ(sent(Collective::kAllGather, kMega), (count - 1) * kMega);  // its part to each of the others
    EXPECT_DOUBLE_EQ(sent(Collective::kReduceScatter, kMega), (count - 1) / count * kMega);
    EXPECT_DOUBLE_EQ(sent(Collective::kAllToAll, kMega), (count - 1) / count * kMega);
  }
}

TEST(CollectiveCost, ARingWithinANode) {
  // 8 ranks, 800 MB at 100 GB/s: 14 messages of 100 MB.
  const auto cost = collective_cost(Collective::kAllReduce, 800 * kMega, {8, 8}, gpus());
  EXPECT_DOUBLE_EQ(cost.total(), 14 * (2e-6 + 1e-3));
  const auto gather = collective_cost(Collective::kAllGather, 100 * kMega, {8, 8}, gpus());
  EXPECT_DOUBLE_EQ(gather.total(), 7 * (2e-6 + 1e-3));
}

TEST(CollectiveCost, ATreeWhereLatencyRules) {
  // 4 bytes over 8 ranks: a ring's 14 messages against a tree's 6.
  const auto cost = collective_cost(Collective::kAllReduce, 4, {8, 8}, gpus());
  EXPECT_NEAR(cost.total(), 6 * 2e-6, 1e-9);
}

TEST(CollectiveCost, TwoLevelSendsBetweenNodesWhatANodeMust) {
  const Machine m = gpus();  // 50 GB/s between nodes
  const Ranks ranks{16, 8};
  const double bytes = 800 * kMega, part = bytes / 8;
  const double within = 2 * 7 * (2e-6 + part / 100e9);
  const double across = 2 * (10e-6 + part / 2 / (50e9 / 8));  // two nodes: a ring of 2 messages a local rank
  EXPECT_DOUBLE_EQ(collective_cost(Collective::kAllReduce, bytes, ranks, m, TwoLevel::kAlways).total(),
                   within + across);
  const double flat = 2 * 15 * (10e-6 + bytes / 16 / 50e9);
  EXPECT_DOUBLE_EQ(collective_cost(Collective::kAllReduce, bytes, ranks, m, TwoLevel::kNever).total(), flat);
  EXPECT_DOUBLE_EQ(collective_cost(Collective::kAllReduce, bytes, ranks, m).total(), std::min(within + across, flat));
}

TEST(CollectiveCost, MpisTreeGoesUpAndDownTheSlowWire) {
  Machine m;
  m.shared_cores = true;
  m.collectives = "mpi";
  m.intra_node_gbyte = 1;
  m.inter_node_gbit = 1;
  m.wire_efficiency = 0.8;
  m.inter_node_latency_us = 100;
  const auto cost = collective_cost(Collective::kAllReduce, 100 * kMega, {2, 1}, m);
  EXPECT_DOUBLE_EQ(cost.seconds, 1e-4 + 1.0);
  EXPECT_DOUBLE_EQ(cost.seconds_back, cost.seconds);
  EXPECT_DOUBLE_EQ(cost.core_seconds, 0.1);
}

TEST(CollectiveCost, CoresMoveWhatStaysInANode) {
  Machine m;
  m.shared_cores = true;
  m.collectives = "mpi";
  m.intra_node_gbyte = 2;
  m.intra_node_latency_us = 5;
  const auto cost = collective_cost(Collective::kAllReduce, 100 * kMega, {2, 2}, m);
  EXPECT_DOUBLE_EQ(cost.core_seconds, 0.05);
  EXPECT_DOUBLE_EQ(cost.total(), 10e-6);
}

TEST(Scaling, SharesAndPowersOfTwo) {
  EXPECT_TRUE(share_of(64, 8).even);
  EXPECT_EQ(share_of(64, 8).most, 8);
  EXPECT_FALSE(share_of(65, 8).even);
  EXPECT_EQ(share_of(65, 8).most, 9);
  EXPECT_EQ(doubling(1024).size(), 11U);
  EXPECT_EQ(doubling(1024).back(), 1024);
  EXPECT_EQ(doubling(6), (std::vector<int64_t>{1, 2, 4}));
}

TEST(Scaling, EfficiencyIsPerRank) {
  const auto point = [](int64_t ranks, int64_t samples, double seconds) {
    ScalingPoint p;
    p.ranks = ranks;
    p.samples = samples;
    p.time.seconds = seconds;
    return p;
  };
  const ScalingPoint one = point(1, 8, 1);
  EXPECT_DOUBLE_EQ(efficiency(one, one), 1);
  EXPECT_DOUBLE_EQ(efficiency(point(4, 32, 1.25), one), 0.8);  // weak
  EXPECT_DOUBLE_EQ(efficiency(point(4, 8, 0.5), one), 0.5);    // strong
}

}  // namespace
}  // namespace snell::plan
