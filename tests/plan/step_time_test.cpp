// Traces whose times are known: what waits for what.
#include "snell/plan/step_time.h"

#include <gtest/gtest.h>

#include "snell/core/error.h"

namespace snell::plan {
namespace {

// A second an operation of 10⁹ bytes, a second a gather of 10⁹ bytes between two ranks.
Machine seconds_machine() {
  Machine m;
  m.ranks_per_node = 2;
  m.rates.memory_gbyte = 1;
  m.intra_node_gbyte = 1;
  m.intra_node_latency_us = 0;
  return m;
}

constexpr Ranks kTwo{2, 2};

class Builder {
 public:
  Builder() { trace_.ranks = 2; }
  Builder& compute(double seconds) {
    trace_.add({.kind = OpKind::kElementwise, .bytes = seconds * 1e9});
    return *this;
  }
  Builder& start(int64_t id, double seconds) {
    trace_.start(id, Collective::kAllGather, seconds * 1e9);
    return *this;
  }
  Builder& wait(int64_t id) {
    trace_.wait(id);
    return *this;
  }
  Builder& phase(Phase phase) {
    trace_.phase(phase);
    return *this;
  }
  StepTime time() const { return step_time(trace_, seconds_machine(), kTwo); }
  Trace trace_;
};

TEST(StepTime, ComputingAddsUpByPhaseAndKind) {
  const StepTime t = Builder()
                         .phase(Phase::kForward)
                         .compute(1)
                         .compute(2)
                         .phase(Phase::kBackward)
                         .compute(4)
                         .phase(Phase::kUpdate)
                         .compute(0.5)
                         .time();
  EXPECT_DOUBLE_EQ(t.seconds, 7.5);
  EXPECT_DOUBLE_EQ(t.of(Phase::kForward), 3);
  EXPECT_DOUBLE_EQ(t.of(Phase::kBackward), 4);
  EXPECT_DOUBLE_EQ(t.of(Phase::kUpdate), 0.5);
  EXPECT_DOUBLE_EQ(t.of(OpKind::kElementwise), 7.5);
  EXPECT_EQ(t.exposed_seconds, 0);
}

// Blocks whose weights are gathered one ahead: g a gather, c a block's computing.
StepTime pipeline(double g, double c, int64_t blocks) {
  Builder b;
  b.start(0, g);
  for (int64_t i = 0; i < blocks; ++i) {
    b.wait(i);
    if (i + 1 < blocks) b.start(i + 1, g);
    b.compute(c);
  }
  return b.time();
}

TEST(StepTime, ShortGathersHideButTheFirst) {
  const StepTime t = pipeline(0.25, 1, 6);
  EXPECT_DOUBLE_EQ(t.seconds, 0.25 + 6);
  EXPECT_DOUBLE_EQ(t.exposed_seconds, 0.25);
}

TEST(StepTime, LongGathersHideAllComputingButTheLast) {
  const StepTime t = pipeline(2, 1, 6);
  EXPECT_DOUBLE_EQ(t.seconds, 6 * 2 + 1);
  EXPECT_DOUBLE_EQ(t.exposed_seconds, 7);
  EXPECT_DOUBLE_EQ(t.communication_seconds, 12);
}

TEST(StepTime, WhatIsNotPrefetchedIsExposed) {
  Builder b;
  for (int64_t i = 0; i < 6; ++i) b.start(i, 0.25).wait(i).compute(1);
  EXPECT_DOUBLE_EQ(b.time().seconds, 7.5);
  EXPECT_DOUBLE_EQ(b.time().exposed_seconds, 1.5);
}

// Gradients' buckets leave during the backward pass and are waited for at its end.
TEST(StepTime, OnlyTheLastBucketIsExposedWhereTheWireKeepsUp) {
  const StepTime t = Builder().compute(1).start(0, 0.5).compute(1).start(1, 0.5).wait(0).wait(1).compute(1).time();
  EXPECT_DOUBLE_EQ(t.seconds, 3.5);
  EXPECT_DOUBLE_EQ(t.exposed_seconds, 0.5);
}

TEST(StepTime, BucketsQueueOnASlowWire) {
  const StepTime t = Builder().compute(1).start(0, 3).compute(1).start(1, 3).wait(0).wait(1).time();
  EXPECT_DOUBLE_EQ(t.seconds, 7);
  EXPECT_DOUBLE_EQ(t.exposed_seconds, 5);
}

TEST(StepTime, WhatNobodyWaitsForEndsWithTheStep) {
  EXPECT_DOUBLE_EQ(Builder().compute(1).start(0, 3).compute(1).time().seconds, 4);
}

// One bucket's way up passes beside another's way down: n buckets take n + 1 ways, not 2n.
TEST(StepTime, ATreesTwoWaysOverlap) {
  Machine m = seconds_machine();
  m.collectives = "mpi";
  Trace trace;
  trace.ranks = 2;
  for (int64_t i = 0; i < 4; ++i) trace.start(i, Collective::kAllReduce, 1e9);
  for (int64_t i = 0; i < 4; ++i) trace.wait(i);
  EXPECT_DOUBLE_EQ(step_time(trace, m, kTwo).seconds, 5);
}

TEST(StepTime, CoresThatMoveDataDoNotCompute) {
  Machine m = seconds_machine();
  m.shared_cores = true;
  m.rates.ranks = 2;
  Trace trace;
  trace.ranks = 2;
  trace.start(0, Collective::kAllReduce, 1e9);
  trace.add({.kind = OpKind::kElementwise, .bytes = 2e9});
  trace.wait(0);
  const StepTime t = step_time(trace, m, kTwo);
  EXPECT_DOUBLE_EQ(t.seconds, 3);
  EXPECT_DOUBLE_EQ(t.core_seconds, 1);
  EXPECT_DOUBLE_EQ(t.exposed_seconds, 0);
}

// A GPU waits for a host that is slower, and not where the host got ahead.
TEST(StepTime, TheHostHandsOutWhatAGpuDoes) {
  Machine m = seconds_machine();
  m.rates.op_overhead_us = 1e6;  // a second a call
  const auto of = [&](std::initializer_list<double> seconds) {
    Trace trace;
    trace.ranks = 2;
    for (const double s : seconds) trace.add({.kind = OpKind::kElementwise, .bytes = s * 1e9});
    return step_time(trace, m, kTwo);
  };
  EXPECT_DOUBLE_EQ(of({0.5, 0.5, 0.5}).seconds, 3.5);  // the third is handed out after three
  EXPECT_DOUBLE_EQ(of({4, 0.5, 0.5}).seconds, 6);      // a long one hides the calls behind it
  EXPECT_DOUBLE_EQ(of({4, 0.5, 0.5}).compute_seconds, 6);
}

// Hybrid sharding: the weights are gathered within a node, whatever the number of nodes.
TEST(StepTime, ACollectiveMayBeOfNeighboursAlone) {
  Machine m = seconds_machine();
  m.inter_node_gbit = 0.8;  // a tenth of a GB/s
  m.inter_node_latency_us = 0;
  m.wire_efficiency = 1;
  Trace trace;
  trace.ranks = 4;
  trace.start(0, Collective::kAllGather, 1e9, 2);
  trace.wait(0);
  EXPECT_DOUBLE_EQ(step_time(trace, m, {4, 2}).seconds, 1);
  trace.start(1, Collective::kAllGather, 1e9);
  trace.wait(1);
  EXPECT_DOUBLE_EQ(step_time(trace, m, {4, 2}).seconds, 1 + 3 * 10);
}

TEST(StepTime, ATraceIsOfItsOwnNumberOfRanks) {
  Trace trace;
  trace.ranks = 4;
  EXPECT_THROW(step_time(trace, seconds_machine(), kTwo), core::Error);
}

TEST(StepTime, WhatTheStepBeforeStartedHasEnded) {
  EXPECT_DOUBLE_EQ(Builder().wait(7).compute(1).time().seconds, 1);
}

}  // namespace
}  // namespace snell::plan
