#include "snell/data/resize.h"

#include <gtest/gtest.h>

#include "fixtures.h"
#include "snell/core/error.h"
#include "snell/data/decode.h"

namespace snell::data {
namespace {

Image picture() {
  return decode(file_sample("picture.png"), "picture.png");
}

}  // namespace

TEST(Resize, CropsEqualPillow) {
  const auto expected = io::open_tensors(fixture_path("transforms.safetensors"));
  ASSERT_EQ(expected->metadata().at("crops"), R"(["bicubic", "bilinear", "bicubic"])");
  for (int i = 0; i < 3; ++i) {
    const std::string name = "crop" + std::to_string(i);
    const auto box = values<int64_t>(expected->read(name + ".box_ijhw"));
    const Filter filter = i == 1 ? Filter::kBilinear : Filter::kBicubic;
    EXPECT_TRUE(equals(resize(picture(), {box[0], box[1], box[2], box[3]}, 96, 96, filter), expected->read(name))) << i;
  }
}

TEST(Resize, EqualsPillowUpAndDown) {
  const auto expected = io::open_tensors(fixture_path("pillow_extra.safetensors"));
  for (int i = 0; i < 6; ++i) {
    const std::string name = "resize" + std::to_string(i);
    const auto spec = values<int64_t>(expected->read(name + ".spec"));
    const Filter filter = spec[2] == 2 ? Filter::kBilinear : Filter::kBicubic;
    EXPECT_TRUE(equals(resize(picture(), spec[0], spec[1], filter), expected->read(name))) << i;
  }
}

TEST(Resize, ShorterSide) {
  const Image wide = resize_shorter_side(picture(), 73, Filter::kBilinear);  // 150 x 210
  EXPECT_EQ(wide.height(), 73);
  EXPECT_EQ(wide.width(), 102);
  const Image tall = resize_shorter_side(Image(11, 3), 6, Filter::kBilinear);
  EXPECT_EQ(tall.height(), 22);
  EXPECT_EQ(tall.width(), 6);
}

TEST(Resize, RefusesExtremeShapes) {
  EXPECT_THROW(resize_shorter_side(Image(1, 60000), 256, Filter::kBilinear), core::DataError);
  EXPECT_THROW(resize(Image(2, 2), 65536, 65536, Filter::kBilinear), core::DataError);
  EXPECT_THROW(center_crop(Image(10, 20), 11), core::DataError);
  EXPECT_THROW(crop(Image(10, 20), {0, 10, 5, 11}), core::Error);
}

}  // namespace snell::data
