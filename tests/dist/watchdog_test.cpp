// Limits, the exchange of heartbeats over real sockets with a clock of the test's own, and the end of a hanging
// process.
#include "snell/dist/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "../../src/dist/heartbeats.h"
#include "snell/core/phase.h"
#include "snell/dist/abort_hooks.h"

namespace snell::dist {

using core::PhaseKind;
using ::testing::HasSubstr;

TEST(PhaseLimit, IsLearntAndNeverBelowItsFloor) {
  WatchdogConfig config;
  EXPECT_EQ(phase_limit_s(config, 0, 0), 1800);
  EXPECT_EQ(phase_limit_s(config, 1, 0.5), 120);
  EXPECT_EQ(phase_limit_s(config, 7, 30), 300);
  config.floor_s = 4000;
  EXPECT_EQ(phase_limit_s(config, 0, 0), 4000);
}

// Rank 0 and two others, in one process.
class HeartbeatsTest : public ::testing::Test {
 protected:
  static constexpr double kSilence = 10;
  void SetUp() override {
    UdpSocket root_socket;
    root_address_ = *make_address("127.0.0.1", root_socket.port());
    for (uint32_t rank = 0; rank < 3; ++rank) {
      HeartbeatSetup setup;
      setup.rank = rank;
      setup.hosts = {"a", "b", "c"};
      setup.token.fill(42);
      setup.root_addresses = {*make_address("127.0.0.2", 9), root_address_};  // nobody is at the first
      setup.interval_s = 1;
      setup.silence_s = kSilence;
      ranks_.push_back(std::make_unique<Heartbeats>(setup, rank == 0 ? std::move(root_socket) : UdpSocket(), 0));
    }
  }
  // Lets the given ranks exchange heartbeats until `until`.
  void run(double until, std::initializer_list<size_t> who) {
    for (; now_ < until; now_ += 0.25) {
      for (size_t rank : who) ranks_[rank]->tick(now_, states_[rank]);
    }
  }
  std::vector<std::unique_ptr<Heartbeats>> ranks_;
  std::array<RankState, 3> states_{};
  sockaddr_in root_address_{};
  double now_ = 0;
};

TEST_F(HeartbeatsTest, NobodyComplainsWhileAllSpeak) {
  run(100, {0, 1, 2});
  for (auto& rank : ranks_) {
    EXPECT_TRUE(rank->reached_root());
    EXPECT_FALSE(rank->trouble(now_));
    EXPECT_FALSE(rank->verdict(now_));
  }
}

TEST_F(HeartbeatsTest, ASilentRankIsNamedByAll) {
  states_[1] = {PhaseKind::kCollective, 5, 8, 0, 0};
  states_[2] = {PhaseKind::kBackward, 5, 7, 0, 0};
  run(20, {0, 1, 2});
  run(20 + kSilence - 1, {0, 1});
  EXPECT_FALSE(ranks_[0]->trouble(now_));
  run(20 + kSilence + 1, {0, 1});
  ASSERT_TRUE(ranks_[0]->trouble(now_));
  EXPECT_THAT(*ranks_[0]->trouble(now_), HasSubstr("rank 2 on c has sent no heartbeat for"));
  EXPECT_FALSE(ranks_[1]->trouble(now_)) << "only rank 0 hears rank 2";
  ranks_[0]->trip(now_);
  run(now_ + 1, {0, 1});
  ASSERT_TRUE(ranks_[1]->trouble(now_));
  EXPECT_THAT(*ranks_[1]->trouble(now_), HasSubstr("rank 0 on a gave up"));
  ranks_[1]->trip(now_);
  EXPECT_TRUE(ranks_[0]->verdict(now_));
  run(now_ + 1, {0, 1});
  for (const size_t rank : {0U, 1U}) {
    const auto verdict = ranks_[rank]->verdict(now_);
    ASSERT_TRUE(verdict) << rank;
    ASSERT_EQ(verdict->size(), 1u);
    EXPECT_EQ((*verdict)[0].rank, 2u);
    EXPECT_EQ((*verdict)[0].fault, Fault::kSilent);
    EXPECT_EQ((*verdict)[0].last.phase, PhaseKind::kBackward) << "its last word";
  }
}

TEST_F(HeartbeatsTest, ARankThatGivesUpIsHeardByAllAndTheOneBehindIsBlamed) {
  states_ = {RankState{PhaseKind::kCollective, 5, 8, 9000, 8000}, RankState{PhaseKind::kCollective, 5, 8, 9000, 8000},
             RankState{PhaseKind::kForward, 5, 7, 9000, 12000}};
  run(20, {0, 1, 2});
  ranks_[1]->trip(now_);
  run(now_ + 0.5, {0, 1, 2});
  EXPECT_TRUE(ranks_[0]->trouble(now_));
  ranks_[0]->trip(now_);
  run(now_ + 1, {0, 1, 2});
  EXPECT_TRUE(ranks_[2]->trouble(now_));
  ranks_[2]->trip(now_);
  EXPECT_TRUE(ranks_[0]->verdict(now_));
  run(now_ + 1, {0, 1, 2});
  for (auto& rank : ranks_) {
    const auto verdict = rank->verdict(now_);
    ASSERT_TRUE(verdict && verdict->size() == 1);
    EXPECT_EQ((*verdict)[0].rank, 2u);
    EXPECT_EQ((*verdict)[0].fault, Fault::kBehind);
  }
}

TEST_F(HeartbeatsTest, WithoutRankZeroTheOthersNameIt) {
  run(20, {0, 1, 2});
  run(20 + kSilence + 2, {1, 2});
  for (const size_t rank : {1U, 2U}) {
    ASSERT_TRUE(ranks_[rank]->trouble(now_));
    EXPECT_THAT(*ranks_[rank]->trouble(now_), HasSubstr("rank 0 on a has sent no heartbeat"));
    ranks_[rank]->trip(now_);
    const auto verdict = ranks_[rank]->verdict(now_);
    ASSERT_TRUE(verdict && verdict->size() == 1);
    EXPECT_EQ((*verdict)[0].rank, 0u);
  }
}

// A long save of one rank is no reason for those that wait for it to give up.
TEST_F(HeartbeatsTest, EverybodyKnowsWhetherSomebodyWorks) {
  const RankState waits{PhaseKind::kAgree, 5, 8, 9000, 8000};
  states_ = {waits, RankState{PhaseKind::kSave, 5, 7, 9000, 100000}, waits};
  run(20, {0, 1, 2});
  for (const size_t rank : {0U, 2U}) EXPECT_TRUE(ranks_[rank]->somebody_works(now_)) << rank;
  run(24, {0, 2});
  for (const size_t rank : {0U, 2U}) EXPECT_FALSE(ranks_[rank]->somebody_works(now_)) << rank << ": rank 1 is silent";
  states_[1].quiet_ms = 100001;
  run(28, {0, 1, 2});
  for (const size_t rank : {0U, 2U}) EXPECT_FALSE(ranks_[rank]->somebody_works(now_)) << rank << ": rank 1 is stuck";
  states_[1] = waits;
  run(32, {0, 1, 2});
  for (const size_t rank : {0U, 2U}) EXPECT_FALSE(ranks_[rank]->somebody_works(now_)) << rank << ": all wait";
  states_[0] = RankState{PhaseKind::kSave, 5, 7, 0, 100000};
  run(36, {0, 1, 2});
  EXPECT_TRUE(ranks_[2]->somebody_works(now_)) << "rank 0 works";
  run(40, {2});
  EXPECT_FALSE(ranks_[2]->somebody_works(now_)) << "rank 0 is silent";
}

TEST_F(HeartbeatsTest, WhoLeavesIsNotMissed) {
  run(20, {0, 1, 2});
  ranks_[2]->leave(now_);
  run(100, {0, 1});
  EXPECT_FALSE(ranks_[0]->trouble(now_));
  ranks_[0]->leave(now_);
  run(200, {1});
  EXPECT_FALSE(ranks_[1]->trouble(now_));
}

TEST_F(HeartbeatsTest, RanksThatNeverReachRankZeroAreNotMissed) {
  run(100, {0, 1});
  EXPECT_FALSE(ranks_[0]->trouble(now_));
  run(200, {0, 1});
  EXPECT_FALSE(ranks_[2]->reached_root());
  EXPECT_FALSE(ranks_[2]->trouble(now_));
}

TEST_F(HeartbeatsTest, StrangersAreIgnored) {
  run(20, {0, 1, 2});
  UdpSocket stranger;
  HeartbeatToken wrong{};
  Heartbeat trip;
  trip.sender = 1;
  trip.number = UINT64_MAX;
  trip.tripped = true;
  for (double end = now_ + 30; now_ < end;) {
    stranger.send(encode(trip, wrong), root_address_);
    stranger.send(std::string(2000, 'x'), root_address_);
    stranger.send("", root_address_);
    run(now_ + 0.25, {0, 1, 2});
  }
  EXPECT_FALSE(ranks_[0]->trouble(now_));
}

TEST_F(HeartbeatsTest, AnOldHeartbeatSentAgainIsNoSignOfLife) {
  run(20, {0, 1, 2});
  HeartbeatToken token;
  token.fill(42);
  UdpSocket stranger;
  Heartbeat old;
  old.sender = 2;
  old.number = 1;
  for (double end = now_ + kSilence + 2; now_ < end;) {
    stranger.send(encode(old, token), root_address_);
    run(now_ + 0.25, {0, 1});
  }
  EXPECT_TRUE(ranks_[0]->trouble(now_));
}

class WatchdogDeathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    // The death test's process starts this program anew: it must come to the same folder.
    ::setenv("SNELL_WATCHDOG_TEST", std::to_string(::getpid()).c_str(), /*overwrite=*/0);
    folder_ = core::str("/tmp/snell-watchdog-", std::getenv("SNELL_WATCHDOG_TEST"), "-",
                        ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
  }
  static WatchdogConfig quick() {
    WatchdogConfig config;
    config.floor_s = config.first_floor_s = 1.5;
    config.heartbeat_s = 0.1;
    return config;
  }
  std::string report() const {
    std::ostringstream text;
    text << std::ifstream(folder_ + "/watchdog.rank0.txt").rdbuf();
    return text.str();
  }
  std::string folder_;
};

[[gnu::noinline]] static void hang_in_backward(const WatchdogConfig& config, const std::string& folder) {
  SelfControlPlane control;
  const Watchdog watchdog(config, control, folder);
  const AbortHook hook([] { [[maybe_unused]] const auto n = ::write(STDERR_FILENO, "the hook was called\n", 20); });
  const core::Phase outer(PhaseKind::kUpdate);
  { const core::Phase done(PhaseKind::kForward); }
  const core::Phase phase(PhaseKind::kBackward);
  std::this_thread::sleep_for(std::chrono::seconds(20));
}

TEST_F(WatchdogDeathTest, AHangingPhaseEndsTheProcessWithPhasesStacksAndHooks) {
  std::filesystem::remove_all(folder_);
  std::filesystem::create_directories(folder_);
  EXPECT_EXIT(hang_in_backward(quick(), folder_), ::testing::ExitedWithCode(124), "the hook was called");
  const std::string text = report();
  EXPECT_THAT(text, HasSubstr("why: 'backward' of step 0 has lasted"));
  EXPECT_THAT(text, HasSubstr("rank 0 on " + ControlPlane::hostname() + " is stuck"));
  EXPECT_THAT(text, ::testing::ContainsRegex("  forward\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("\\+ +0 +backward\n")) << "under way";
  EXPECT_THAT(text, HasSubstr("stacks\nthread "));
  EXPECT_THAT(text, HasSubstr("libc.so"));
  EXPECT_THAT(text, HasSubstr("] snell::dist::hang_in_backward(snell::dist::WatchdogConfig const&")) << "by name";
  std::filesystem::remove_all(folder_);
}

static void go_on_slowly(const WatchdogConfig& config, const std::string& folder) {
  SelfControlPlane control;
  {
    const Watchdog watchdog(config, control, folder);
    for (int i = 0; i < 9; ++i) {
      const core::Phase phase(i % 2 == 0 ? PhaseKind::kForward : PhaseKind::kBackward);
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
    }
  }
  ::_exit(7);
}

TEST_F(WatchdogDeathTest, AProcessThatGoesOnIsLeftAlone) {
  EXPECT_EXIT(go_on_slowly(quick(), folder_), ::testing::ExitedWithCode(7), "");
  WatchdogConfig off = quick();
  off.enabled = false;
  off.floor_s = off.first_floor_s = 0.01;
  EXPECT_EXIT(go_on_slowly(off, folder_), ::testing::ExitedWithCode(7), "");
  std::filesystem::remove_all(folder_);
}

// Stopped as a whole for longer than any limit, and continued: nobody's fault.
static void be_stopped(const WatchdogConfig& config, const std::string& folder) {
  SelfControlPlane control;
  {
    const Watchdog watchdog(config, control, folder);
    const core::Phase phase(PhaseKind::kForward);
    const pid_t self = ::getpid();
    if (::fork() == 0) {
      ::kill(self, SIGSTOP);
      ::usleep(3'000'000);
      ::kill(self, SIGCONT);
      ::_exit(0);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    const core::Phase next(PhaseKind::kBackward);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  ::_exit(7);
}

TEST_F(WatchdogDeathTest, TimeInWhichTheProcessWasStoppedDoesNotCount) {
  EXPECT_EXIT(be_stopped(quick(), folder_), ::testing::ExitedWithCode(7), "");
  std::filesystem::remove_all(folder_);
}

}  // namespace snell::dist
