#include "snell/data/transforms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixtures.h"
#include "snell/core/error.h"
#include "snell/data/decode.h"

namespace snell::data {
namespace {

using ::testing::HasSubstr;

constexpr core::StreamKey kKey{5, core::Purpose::kAugment, 1, 2, 0};

Image picture() {
  return decode(file_sample("picture.png"), "picture.png");
}

TransformConfig with_size(int64_t size, const std::string& normalize = "imagenet") {
  TransformConfig config;
  config.size = size;
  config.normalize = normalize;
  return config;
}

Image run(const std::string& name, const TransformConfig& config, Image image, const core::StreamKey& key = kKey) {
  core::RandomStream random(key);
  return make_transform(name, config)->to_size(std::move(image), random);
}

std::vector<float> normalized(const std::string& name, const TransformConfig& config) {
  std::vector<float> out(static_cast<size_t>(3 * config.size * config.size));
  make_transform(name, config)->apply(picture(), kKey, out, "picture");
  return out;
}

}  // namespace

TEST(Transforms, EvaluationEqualsPillow) {
  const auto expected = io::open_tensors(fixture_path("transforms.safetensors"));
  for (int64_t size : {64, 224}) {
    const std::string suffix = std::to_string(size);
    EXPECT_TRUE(equals(run("fgvc_eval", with_size(size), picture()), expected->read("fgvc_eval_" + suffix))) << size;
    EXPECT_TRUE(equals(run("vtab", with_size(size), picture()), expected->read("vtab_resize_bicubic_" + suffix)))
        << size;
  }
}

TEST(Transforms, NormalisationEqualsTorchvision) {
  const auto expected = io::open_tensors(fixture_path("transforms.safetensors"));
  for (const std::string name : {"imagenet", "inception"}) {
    EXPECT_EQ(normalized("fgvc_eval", with_size(64, name)), values<float>(expected->read("normalized_" + name)))
        << name;
  }
}

TEST(Transforms, NoneAndCustomNormalisation) {
  TransformConfig custom = with_size(64, "custom");
  custom.mean = {0, 0.5, 1};
  custom.std = {1, 2, 0.25};
  const std::vector<float> plain = normalized("vtab", with_size(64, "none"));
  const std::vector<float> changed = normalized("vtab", custom);
  for (size_t i = 0; i < 64 * 64; ++i) {
    EXPECT_EQ(changed[i], plain[i]);
    EXPECT_EQ(changed[i + 64 * 64], (plain[i + 64 * 64] - 0.5F) / 2.0F);
    EXPECT_EQ(changed[i + 2 * 64 * 64], (plain[i + 2 * 64 * 64] - 1.0F) / 0.25F);
  }
  custom.std = {1, 0, 1};
  EXPECT_THROW(make_transform("vtab", custom), core::ConfigError);
  EXPECT_THROW(make_transform("vtab", with_size(64, "imagnet")), core::ConfigError);
}

TEST(Transforms, TrainingIsAFunctionOfItsKey) {
  const TransformConfig config = with_size(32);
  const Image first = run("fgvc_train", config, picture());
  const Image again = run("fgvc_train", config, picture());
  EXPECT_EQ(std::memcmp(first.data(), again.data(), static_cast<size_t>(first.num_bytes())), 0);
  for (core::StreamKey other :
       {core::StreamKey{6, core::Purpose::kAugment, 1, 2, 0}, core::StreamKey{5, core::Purpose::kAugment, 2, 2, 0},
        core::StreamKey{5, core::Purpose::kAugment, 1, 3, 0}}) {
    const Image changed = run("fgvc_train", config, picture(), other);
    EXPECT_NE(std::memcmp(first.data(), changed.data(), static_cast<size_t>(first.num_bytes())), 0);
  }
}

TEST(Transforms, SmallTrainingShiftsAndFlipsEquallyOften) {
  TransformConfig config = with_size(5);
  Image dot(5, 5);
  std::array<int, 25> counts{};
  constexpr uint32_t kDraws = 25000;
  for (uint32_t slot = 0; slot < kDraws; ++slot) {
    std::memset(dot.data(), 0, 75);
    dot.row(2)[3 * 1] = 255;  // red at row 2, column 1
    Image copy(5, 5);
    std::memcpy(copy.data(), dot.data(), 75);
    const Image moved = run("small_train", config, std::move(copy), {1, core::Purpose::kAugment, 0, slot, 0});
    for (int i = 0; i < 25; ++i) counts[i] += moved.data()[3 * i] == 255;
  }
  // Columns reached: 1 ± 2 unflipped (0 … 3, once out of the picture), mirrored 4 … 1; each of 5 rows alike.
  const double expected[5] = {0.1, 0.2, 0.2, 0.2, 0.1};
  for (int y = 0; y < 5; ++y) {
    for (int x = 0; x < 5; ++x) EXPECT_NEAR(counts[5 * y + x], kDraws * expected[x] / 5, 150) << y << ", " << x;
  }
}

TEST(Transforms, FlipFollowsItsProbability) {
  TransformConfig config = with_size(1);
  config.size = 2;
  config.shift = 0;
  for (double probability : {0.0, 0.5, 1.0}) {
    config.flip = probability;
    int flipped = 0;
    for (uint32_t slot = 0; slot < 4000; ++slot) {
      Image image(2, 2);
      std::memset(image.data(), 0, 12);
      image.data()[0] = 1;
      const Image out = run("small_train", config, std::move(image), {9, core::Purpose::kAugment, 0, slot, 0});
      flipped += out.data()[0] == 0;
    }
    EXPECT_NEAR(flipped, 4000 * probability, 160);
  }
}

TEST(Transforms, ErrorsSayWhatToDo) {
  try {
    make_transform("fgvc_trian", with_size(64));
    FAIL();
  } catch (const core::ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("Did you mean 'fgvc_train'?"));
  }
  TransformConfig config = with_size(64);
  config.resize = 60;
  EXPECT_THROW(make_transform("fgvc_eval", config), core::ConfigError);
  config = with_size(64);
  config.crop_scale = {0.5};
  EXPECT_THROW(make_transform("fgvc_train", config), core::ConfigError);
  config = with_size(64);
  config.shift = 64;
  EXPECT_THROW(make_transform("small_train", config), core::ConfigError);
  try {
    normalized("none", with_size(64));
    FAIL();
  } catch (const core::DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("image 'picture': it has 150 x 210 pixels"));
  }
}

TEST(Transforms, SaysWhichSettingsNobodyLooksAt) {
  TransformConfig config = with_size(64);
  config.train = config.eval = "vtab";
  EXPECT_THAT(ignored_settings(config), testing::IsEmpty());
  config.flip = 0.25;
  config.resize = 80;
  EXPECT_THAT(ignored_settings(config), testing::ElementsAre("data.transform.resize (used by fgvc_eval)",
                                                             "data.transform.flip (used by fgvc_train, small_train)"));
  config.flip = 0;
  config.resize = 0;
  EXPECT_THAT(ignored_settings(config), testing::IsEmpty());
  config.resize = 80;
  config.train = "small_train";
  config.eval = "fgvc_eval";
  EXPECT_THAT(ignored_settings(config), testing::IsEmpty());
}

}  // namespace snell::data
