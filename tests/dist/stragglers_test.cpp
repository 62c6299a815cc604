// Who is slow at what, from times that are made up and from times that ranks spend.
#include "snell/dist/stragglers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace snell::dist {

using core::PhaseKind;

static SectionTimes times(std::initializer_list<std::pair<PhaseKind, double>> seconds) {
  SectionTimes out{};
  for (const auto& [kind, s] : seconds) out[static_cast<size_t>(kind)] = static_cast<int64_t>(s * 1e9);
  return out;
}
constexpr int64_t kTenSeconds = 10'000'000'000;

TEST(Stragglers, AreNamedByRankAndSection) {
  const SectionTimes usual = times({{PhaseKind::kBatch, 1}, {PhaseKind::kBackward, 4}, {PhaseKind::kCollective, 3}});
  const SectionTimes late = times({{PhaseKind::kBatch, 2.3}, {PhaseKind::kBackward, 4.1}, {PhaseKind::kCollective, 0}});
  const auto found = find_stragglers(std::vector{usual, usual, usual, late}, 1.5, kTenSeconds);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].rank, 3);
  EXPECT_EQ(found[0].section, PhaseKind::kBatch);
  EXPECT_DOUBLE_EQ(found[0].seconds, 2.3);
  EXPECT_DOUBLE_EQ(found[0].median_seconds, 1);
  auto named = found[0];
  named.host = "b";
  named.steps = 100;
  EXPECT_EQ(describe(named),
            "rank 3 on b: 'wait for a batch' took 2.3 x the median over the last 100 steps (2.30 s, median 1.00 s)");
}

TEST(Stragglers, OfTwoRanksTheSlowerOneIsNamedAndWaitingIsNot) {
  const SectionTimes fast = times({{PhaseKind::kForward, 1}, {PhaseKind::kAgree, 4}});
  const SectionTimes slow = times({{PhaseKind::kForward, 5}});
  const auto found = find_stragglers(std::vector{slow, fast}, 1.5, kTenSeconds);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].rank, 0);
  EXPECT_EQ(found[0].section, PhaseKind::kForward);
}

TEST(Stragglers, WhatCannotBeFeltIsNoStraggler) {
  const SectionTimes usual = times({{PhaseKind::kBatch, 0.01}, {PhaseKind::kForward, 4}});
  const SectionTimes late = times({{PhaseKind::kBatch, 0.3}, {PhaseKind::kForward, 5}});  // 30 x, but 3 % of the time
  EXPECT_TRUE(find_stragglers(std::vector{usual, usual, late}, 1.5, kTenSeconds).empty());
  EXPECT_TRUE(find_stragglers(std::vector{usual}, 1.5, kTenSeconds).empty());
}

TEST(Stragglers, TheWorstComesFirst) {
  const SectionTimes usual = times({{PhaseKind::kBatch, 1}, {PhaseKind::kForward, 1}});
  const SectionTimes late = times({{PhaseKind::kBatch, 2}, {PhaseKind::kForward, 4}});
  const auto found = find_stragglers(std::vector{usual, usual, late}, 1.5, kTenSeconds);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].section, PhaseKind::kForward);
}

TEST(Stragglers, RanksCompareTheirTimesEverySoManySteps) {
  const auto control = make_control_plane();
  core::PhaseRing ring;
  const core::PhaseRing::Attached attached(ring);
  WatchdogConfig config;
  config.straggler_every = 3;
  StragglerWatch watch(config, *control);
  const int slow = control->size() - 1;
  for (int step = 1; step <= 6; ++step) {
    {
      const core::Phase phase(PhaseKind::kBatch);
      std::this_thread::sleep_for(std::chrono::milliseconds(control->rank() == slow ? 60 : 1));
    }
    control->barrier();
    const auto found = watch.after_step();
    if (step % 3 != 0 || control->size() == 1) {
      EXPECT_TRUE(found.empty());
      continue;
    }
    ASSERT_EQ(found.size(), 1u) << "step " << step;
    EXPECT_EQ(found[0].rank, slow);
    EXPECT_EQ(found[0].section, PhaseKind::kBatch);
    EXPECT_EQ(found[0].steps, 3);
    EXPECT_EQ(found[0].host, ControlPlane::hostname());
  }
}

TEST(Stragglers, AThreadWhosePhasesAreNotMarkedComparesNothing) {
  const auto control = make_control_plane();
  WatchdogConfig config;
  config.straggler_every = 1;
  StragglerWatch watch(config, *control);
  EXPECT_TRUE(watch.after_step().empty());
}

}  // namespace snell::dist
