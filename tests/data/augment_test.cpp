#include "snell/data/augment.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "fixtures.h"

namespace snell::data {
namespace {

core::RandomStream stream(uint32_t slot) {
  return core::RandomStream({3, core::Purpose::kAugment, 0, slot, 0});
}

}  // namespace

TEST(Jitter, EqualsPillow) {
  const auto expected = io::open_tensors(fixture_path("pillow_extra.safetensors"));
  const io::HostTensor source = expected->read("resize0");
  for (int i = 0; i < 4; ++i) {
    const std::string name = "jitter" + std::to_string(i);
    const auto order = values<int64_t>(expected->read(name + ".spec"));
    const auto factors = values<float>(expected->read(name + ".factors"));
    Jitter jitter{{}, factors[0], factors[1], factors[2]};
    for (int k = 0; k < 3; ++k) jitter.order[k] = static_cast<Jitter::Operation>(order[k]);
    Image image(source.shape[0], source.shape[1]);
    std::memcpy(image.data(), source.bytes.data(), source.bytes.size());
    apply_jitter(jitter, image);
    EXPECT_TRUE(equals(image, expected->read(name))) << i;
  }
}

TEST(Jitter, FactorsAreUniformAndOrdersEquallyOften) {
  constexpr int kDraws = 30000;
  double sum[3] = {}, squares[3] = {};
  std::map<std::array<Jitter::Operation, 3>, int> orders;
  for (uint32_t i = 0; i < kDraws; ++i) {
    auto random = stream(i);
    const Jitter jitter = draw_jitter(0.4, random);
    ++orders[jitter.order];
    const float factors[3] = {jitter.brightness, jitter.contrast, jitter.saturation};
    for (int k = 0; k < 3; ++k) {
      ASSERT_GE(factors[k], 0.6F);
      ASSERT_LE(factors[k], 1.4F);
      sum[k] += factors[k];
      squares[k] += (factors[k] - 1.0) * (factors[k] - 1.0);
    }
  }
  ASSERT_EQ(orders.size(), 6U);
  for (const auto& [order, count] : orders) EXPECT_NEAR(count, kDraws / 6, 300);  // 4.6 sigma
  for (int k = 0; k < 3; ++k) {
    EXPECT_NEAR(sum[k] / kDraws, 1.0, 0.007);
    EXPECT_NEAR(squares[k] / kDraws, 0.8 * 0.8 / 12, 0.002);
  }
}

// On a square picture most tries are taken, so the share of the area is nearly uniform in [0.08, 1] where every ratio
// fits (up to 3/4 of the area) and the ratio log-uniform; the position is uniform in what is left.
TEST(Crop, FollowsItsDistribution) {
  constexpr int kDraws = 30000;
  constexpr int64_t kSide = 400;
  int in_low_half = 0, below_limit = 0;
  double log_ratio = 0, position = 0;
  for (uint32_t i = 0; i < kDraws; ++i) {
    auto random = stream(i);
    const Box box = draw_crop(kSide, kSide, {}, random);
    ASSERT_GE(box.top, 0);
    ASSERT_GE(box.left, 0);
    ASSERT_LE(box.top + box.height, kSide);
    ASSERT_LE(box.left + box.width, kSide);
    const double share = static_cast<double>(box.height * box.width) / (kSide * kSide);
    const double ratio = static_cast<double>(box.width) / static_cast<double>(box.height);
    ASSERT_GT(share, 0.075);
    ASSERT_GT(ratio, 0.74);
    ASSERT_LT(ratio, 1.35);
    log_ratio += std::log(ratio);
    if (box.height < kSide) position += static_cast<double>(box.top) / static_cast<double>(kSide - box.height);
    if (share < 0.75) {
      ++below_limit;
      in_low_half += share < (0.08 + 0.75) / 2;
    }
  }
  EXPECT_NEAR(static_cast<double>(in_low_half) / below_limit, 0.5, 0.015);
  EXPECT_NEAR(log_ratio / kDraws, 0.0, 0.005);
  EXPECT_NEAR(position / kDraws, 0.5, 0.01);
}

TEST(Crop, FallsBackToTheCentre) {
  auto random = stream(0);
  EXPECT_EQ(draw_crop(10, 1000, {}, random), (Box{0, 493, 10, 13}));  // 13.3 wide at 4/3
  EXPECT_EQ(draw_crop(1000, 10, {}, random), (Box{493, 0, 13, 10}));
  EXPECT_EQ(draw_crop(1, 1, {0.01, 0.02, 0.75, 1.33}, random), (Box{0, 0, 1, 1}));
}

TEST(Flip, MirrorsRows) {
  Image image(1, 3);
  for (int i = 0; i < 9; ++i) image.data()[i] = static_cast<uint8_t>(i);
  flip_horizontally(image);
  EXPECT_EQ(std::vector<uint8_t>(image.data(), image.data() + 9), (std::vector<uint8_t>{6, 7, 8, 3, 4, 5, 0, 1, 2}));
}

TEST(Shift, BringsBlackIn) {
  Image image(2, 2);
  for (int i = 0; i < 12; ++i) image.data()[i] = static_cast<uint8_t>(i + 1);
  const Image moved = shift(image, 1, -1);
  EXPECT_EQ(std::vector<uint8_t>(moved.data(), moved.data() + 12),
            (std::vector<uint8_t>{0, 0, 0, 0, 0, 0, 4, 5, 6, 0, 0, 0}));
  const Image gone = shift(image, 5, 0);
  for (int i = 0; i < 12; ++i) EXPECT_EQ(gone.data()[i], 0);
}

}  // namespace snell::data
