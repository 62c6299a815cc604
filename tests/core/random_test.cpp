#include "snell/core/random.h"

#include <gtest/gtest.h>

#include <set>

namespace snell::core {

// Known answers of Random123 1.14 (kat_vectors, "philox4x32 10").
TEST(Philox, EqualsRandom123) {
  const Philox4 zero = philox4x32({{0, 0, 0, 0}}, 0, 0);
  EXPECT_EQ(zero.v[0], 0x6627e8d5u);
  EXPECT_EQ(zero.v[1], 0xe169c58du);
  EXPECT_EQ(zero.v[2], 0xbc57ac4cu);
  EXPECT_EQ(zero.v[3], 0x9b00dbd8u);
  const Philox4 ones = philox4x32({{~0u, ~0u, ~0u, ~0u}}, ~0u, ~0u);
  EXPECT_EQ(ones.v[0], 0x408f276du);
  EXPECT_EQ(ones.v[1], 0x41c83b0eu);
  EXPECT_EQ(ones.v[2], 0xa20bc7c6u);
  EXPECT_EQ(ones.v[3], 0x6d5451fdu);
  const Philox4 pi = philox4x32({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822, 0x299f31d0);
  EXPECT_EQ(pi.v[0], 0xd16cfe09u);
  EXPECT_EQ(pi.v[1], 0x94fdccebu);
  EXPECT_EQ(pi.v[2], 0x5001e420u);
  EXPECT_EQ(pi.v[3], 0x24126ea1u);
}

TEST(Stream, EveryPartOfTheKeyMatters) {
  const StreamKey base{7, Purpose::kDropout, 3, 5, 2};
  std::set<uint32_t> seen{draw_bits(base, 0)};
  for (StreamKey other :
       {StreamKey{8, Purpose::kDropout, 3, 5, 2}, StreamKey{7, Purpose::kDropPath, 3, 5, 2},
        StreamKey{7, Purpose::kDropout, 4, 5, 2}, StreamKey{7, Purpose::kDropout, 3, 6, 2},
        StreamKey{7, Purpose::kDropout, 3, 5, 1}, StreamKey{7ull << 32, Purpose::kDropout, 3, 5, 2}}) {
    EXPECT_TRUE(seen.insert(draw_bits(other, 0)).second);
  }
}

TEST(Stream, InOrderEqualsByIndex) {
  const StreamKey key{1, Purpose::kTest, 0, 0, 0};
  RandomStream stream(key);
  for (uint32_t i = 0; i < 11; ++i) EXPECT_EQ(stream.next_bits(), draw_bits(key, i));
}

TEST(Stream, UniformMoments) {
  RandomStream stream({42, Purpose::kTest, 0, 0, 0});
  double sum = 0, squares = 0;
  constexpr int kDraws = 100000;
  for (int i = 0; i < kDraws; ++i) {
    const double x = stream.next_double();
    ASSERT_GE(x, 0.0);
    ASSERT_LT(x, 1.0);
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.005);
  EXPECT_NEAR(squares / kDraws, 1.0 / 3, 0.005);
}

TEST(Stream, BelowIsUnbiasedAndInRange) {
  RandomStream stream({43, Purpose::kTest, 0, 0, 0});
  int counts[7] = {};
  for (int i = 0; i < 70000; ++i) {
    const uint32_t x = stream.below(7);
    ASSERT_LT(x, 7u);
    ++counts[x];
  }
  for (int count : counts) EXPECT_NEAR(count, 10000, 500);
}

}  // namespace snell::core
