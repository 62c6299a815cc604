// The ring of phases: what is kept, what is learnt, and what readers on other threads see.
#include "snell/core/phase.h"

#include <gtest/gtest.h>

#include <chrono>
#include <iostream>
#include <thread>

namespace snell::core {

using Records = std::array<PhaseRecord, PhaseRing::kLength>;

static void sleep_ms(int ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

TEST(PhaseRing, KeepsPhasesInOrderWithStepAndDepth) {
  PhaseRing ring;
  const PhaseRing::Attached attached(ring);
  ring.set_step(7);
  {
    const Phase outer(PhaseKind::kEvaluate);
    const Phase inner(PhaseKind::kAgree);
  }
  const Phase open(PhaseKind::kForward);
  Records records;
  ASSERT_EQ(ring.last(records), 3u);
  EXPECT_EQ(records[0].kind, PhaseKind::kEvaluate);
  EXPECT_EQ(records[1].kind, PhaseKind::kAgree);
  EXPECT_EQ(records[1].depth, 1);
  EXPECT_EQ(records[1].step, 7);
  EXPECT_GE(records[0].end_ns, records[1].end_ns);
  EXPECT_GE(records[1].start_ns, records[0].start_ns);
  EXPECT_EQ(records[2].kind, PhaseKind::kForward);
  EXPECT_EQ(records[2].end_ns, 0) << "under way";
  EXPECT_EQ(ring.state().kind, PhaseKind::kForward);
  EXPECT_EQ(ring.state().step, 7);
  EXPECT_EQ(ring.state().waits, 1u);
}

TEST(PhaseRing, HoldsTheLast64AndAnOuterPhaseThatLostItsPlace) {
  PhaseRing ring;
  const PhaseRing::Attached attached(ring);
  {
    const Phase outer(PhaseKind::kSave);
    for (int i = 0; i < 100; ++i) const Phase inner(PhaseKind::kAgree);
  }
  Records records;
  ASSERT_EQ(ring.last(records), PhaseRing::kLength);
  EXPECT_EQ(records.back().kind, PhaseKind::kSave);
  EXPECT_GT(records.back().end_ns, records.back().start_ns);
  EXPECT_LT(records.back().start_ns, records.front().start_ns);
  EXPECT_EQ(ring.state().kind, PhaseKind::kOther);
}

TEST(PhaseRing, NestsDeeperThanItWritesDown) {
  PhaseRing ring;
  for (int i = 0; i < 40; ++i) ring.begin(PhaseKind::kForward);
  for (int i = 0; i < 39; ++i) ring.end();
  EXPECT_EQ(ring.state().kind, PhaseKind::kForward);
  ring.end();
  EXPECT_EQ(ring.state().kind, PhaseKind::kOther);
}

TEST(PhaseRing, LearnsTheSlowestStretchAndForgetsItSlowly) {
  PhaseRing ring;
  const PhaseRing::Attached attached(ring);
  {
    const Phase phase(PhaseKind::kBackward);
    sleep_ms(20);
  }
  const int64_t slowest = ring.slowest_ns(PhaseKind::kBackward);
  EXPECT_GE(slowest, 20'000'000);
  EXPECT_EQ(ring.count(PhaseKind::kBackward), 1u);
  EXPECT_EQ(ring.count(PhaseKind::kForward), 0u);
  { const Phase phase(PhaseKind::kBackward); }
  EXPECT_LT(ring.slowest_ns(PhaseKind::kBackward), slowest);
  EXPECT_GT(ring.slowest_ns(PhaseKind::kBackward), slowest * 9 / 10);
}

TEST(PhaseRing, TimeWithinANestedPhaseIsThatPhasesOwn) {
  PhaseRing ring;
  const PhaseRing::Attached attached(ring);
  {
    const Phase outer(PhaseKind::kForward);
    const Phase inner(PhaseKind::kCollective);
    sleep_ms(20);
  }
  const auto totals = ring.totals_ns();
  EXPECT_GE(totals[static_cast<size_t>(PhaseKind::kCollective)], 20'000'000);
  EXPECT_LT(totals[static_cast<size_t>(PhaseKind::kForward)], 10'000'000);
}

TEST(PhaseRing, AThreadWithoutARingMarksNothing) {
  PhaseRing ring;
  const PhaseRing::Attached attached(ring);
  std::thread([] {
    EXPECT_EQ(PhaseRing::of_this_thread(), nullptr);
    const Phase phase(PhaseKind::kForward);
  }).join();
  Records records;
  EXPECT_EQ(ring.last(records), 0u);
}

TEST(PhaseRing, ReadersNeverSeeAHalfWrittenPhase) {
  PhaseRing ring;
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    const PhaseRing::Attached attached(ring);
    for (int64_t step = 1; !stop; ++step) {
      ring.set_step(step);
      const Phase outer(step % 2 == 0 ? PhaseKind::kForward : PhaseKind::kBackward);
      const Phase inner(PhaseKind::kAgree);
    }
  });
  Records records;
  size_t seen = 0;
  for (const int64_t end = now_ns() + 100'000'000; now_ns() < end;) {
    const size_t count = ring.last(records);
    seen += count;
    for (size_t i = 0; i < count; ++i) {
      const PhaseRecord& r = records[i];
      if (r.depth == 1) {
        ASSERT_EQ(r.kind, PhaseKind::kAgree);
      } else {
        ASSERT_EQ(r.kind, r.step % 2 == 0 ? PhaseKind::kForward : PhaseKind::kBackward) << r.step;
      }
      ASSERT_TRUE(r.end_ns == 0 || r.end_ns >= r.start_ns);
    }
  }
  stop = true;
  writer.join();
  EXPECT_GT(seen, 1000u);
}

// Not a promise about time on a busy machine: it prints the cost and refuses what could be felt in a step.
TEST(PhaseRing, AMarkCostsLittle) {
  PhaseRing ring;
  const PhaseRing::Attached attached(ring);
  constexpr int kMarks = 200000;
  double best = 1e9;
  for (int round = 0; round < 5; ++round) {
    const int64_t start = now_ns();
    for (int i = 0; i < kMarks; ++i) const Phase phase(PhaseKind::kForward);
    best = std::min(best, static_cast<double>(now_ns() - start) / kMarks);
  }
  std::cout << "a phase costs " << best << " ns\n";
  EXPECT_LT(best, 5000);
}

}  // namespace snell::core
