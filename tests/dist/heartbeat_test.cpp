// Heartbeats' bytes, and who is blamed.
#include "snell/dist/heartbeat.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snell/core/random.h"

namespace snell::dist {

using core::PhaseKind;
using ::testing::HasSubstr;

static std::span<const std::byte> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

static HeartbeatToken token_of(uint8_t seed) {
  HeartbeatToken token;
  for (size_t i = 0; i < token.size(); ++i) token[i] = static_cast<uint8_t>(seed + i);
  return token;
}

static Heartbeat example() {
  Heartbeat beat;
  beat.sender = 3;
  beat.number = 77;
  beat.tripped = true;
  beat.somebody_works = true;
  beat.state = {PhaseKind::kBackward, 12, 345, 678, 5000};
  beat.suspects = {{1, Fault::kBehind, {PhaseKind::kForward, 11, 344, 9000, 5000}, 20},
                   {2, Fault::kSilent, {PhaseKind::kSave, 10, 343, 1, 2}, 6000}};
  return beat;
}

TEST(Heartbeat, ComesBackAsItWasSent) {
  const std::string bytes = encode(example(), token_of(1));
  const auto back = decode(bytes_of(bytes), token_of(1), 4);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->sender, 3u);
  EXPECT_EQ(back->number, 77u);
  EXPECT_TRUE(back->tripped);
  EXPECT_FALSE(back->leaving);
  EXPECT_TRUE(back->somebody_works);
  EXPECT_FALSE(back->has_verdict);
  EXPECT_EQ(back->state.phase, PhaseKind::kBackward);
  EXPECT_EQ(back->state.limit_ms, 5000u);
  ASSERT_EQ(back->suspects.size(), 2u);
  EXPECT_EQ(back->suspects[1].rank, 2u);
  EXPECT_EQ(back->suspects[1].silent_ms, 6000u);
  EXPECT_EQ(back->suspects[0].last.step, 11);
}

TEST(Heartbeat, AnotherTokenAnotherJobOrACutIsIgnored) {
  const std::string bytes = encode(example(), token_of(1));
  EXPECT_FALSE(decode(bytes_of(bytes), token_of(2), 4));
  EXPECT_FALSE(decode(bytes_of(bytes), token_of(1), 3)) << "sender 3 of 3 ranks";
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(decode(bytes_of(bytes).first(length), token_of(1), 4)) << length;
  }
  EXPECT_FALSE(decode(bytes_of(bytes + "x"), token_of(1), 4));
  EXPECT_FALSE(decode(bytes_of(bytes + std::string(4096, '\0')), token_of(1), 4));
}

TEST(Heartbeat, GarbageNeverGetsThroughAndNeverHarms) {
  core::RandomStream random({9, core::Purpose::kTest, 0, 0, 0});
  const auto draw = [&](int64_t end) { return static_cast<int64_t>(random.uniform(0, static_cast<double>(end))); };
  for (int round = 0; round < 20000; ++round) {
    std::string noise(static_cast<size_t>(draw(1200)), '\0');
    for (char& c : noise) c = static_cast<char>(draw(256));
    EXPECT_FALSE(decode(bytes_of(noise), token_of(1), 4));
  }
  // With the right token and one wrong byte: whatever comes through is within bounds.
  const std::string good = encode(example(), token_of(1));
  for (size_t at = 0; at < good.size(); ++at) {
    for (int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      std::string bad = good;
      bad[at] = static_cast<char>(value);
      const auto beat = decode(bytes_of(bad), token_of(1), 4);
      if (!beat) continue;
      EXPECT_LT(beat->sender, 4u);
      EXPECT_LT(static_cast<size_t>(beat->state.phase), core::kNumPhaseKinds);
      EXPECT_LE(beat->suspects.size(), kMaxSuspects);
      for (const Suspect& s : beat->suspects) EXPECT_LT(s.rank, 4u);
    }
  }
}

TEST(Heartbeat, NoMoreSuspectsThanFit) {
  Heartbeat beat = example();
  beat.suspects.resize(100);
  const std::string bytes = encode(beat, token_of(1));
  EXPECT_LE(bytes.size(), kMaxHeartbeatBytes);
  EXPECT_EQ(decode(bytes_of(bytes), token_of(1), 4)->suspects.size(), kMaxSuspects);
}

// A rank that waits in its n-th wait, or works after it.
static RankView in(PhaseKind phase, uint64_t waits, double silent_s = 0.1, uint32_t quiet_ms = 6000) {
  return {true, false, silent_s, {phase, 37, waits, quiet_ms, 5000}};
}

TEST(Suspects, TheSilentRankAndNotThoseThatWaitForIt) {
  const std::vector<RankView> ranks = {in(PhaseKind::kCollective, 9), in(PhaseKind::kBackward, 8, 5.2),
                                       in(PhaseKind::kCollective, 9)};
  const auto found = find_suspects(ranks, 1);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].rank, 1u);
  EXPECT_EQ(found[0].fault, Fault::kSilent);
  const std::string text = describe(found[0], "hostb");
  EXPECT_THAT(text,
              HasSubstr("rank 1 on hostb is silent: no heartbeat for 5.2 s; its last word: 'backward' of step 37"));
}

TEST(Suspects, TheRankThatOthersWaitForWhetherItWorksOrWaitsElsewhere) {
  const std::vector<RankView> works = {in(PhaseKind::kCollective, 9), in(PhaseKind::kCollective, 9),
                                       in(PhaseKind::kBackward, 8)};
  auto found = find_suspects(works, 1);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].rank, 2u);
  EXPECT_EQ(found[0].fault, Fault::kBehind);
  EXPECT_THAT(describe(found[0], "c"), HasSubstr("rank 2 on c is behind: in 'backward' of step 37 for 6.0 s"));

  const std::vector<RankView> elsewhere = {in(PhaseKind::kCollective, 8), in(PhaseKind::kAgree, 9)};
  found = find_suspects(elsewhere, 1);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].rank, 0u);
}

TEST(Suspects, AllInTheSameWaitIsNobodysFault) {
  EXPECT_TRUE(find_suspects(std::vector<RankView>{in(PhaseKind::kAgree, 9), in(PhaseKind::kAgree, 9)}, 1).empty());
}

TEST(Suspects, WhoLeftOrNeverCameIsNotBlamed) {
  std::vector<RankView> ranks = {in(PhaseKind::kForward, 9), in(PhaseKind::kForward, 3, 99),
                                 in(PhaseKind::kForward, 0, 99)};
  ranks[1].left = true;
  ranks[2].heard = false;
  const auto found = find_suspects(ranks, 1);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].rank, 0u);
  EXPECT_EQ(found[0].fault, Fault::kStuck);
}

}  // namespace snell::dist
