#include "snell/data/decode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixtures.h"
#include "snell/core/error.h"
#include "snell/core/random.h"

namespace snell::data {
namespace {

using ::testing::HasSubstr;

std::string error_of(const Sample& sample) {
  try {
    decode(sample, "the/picture");
  } catch (const core::DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("the/picture"));
    return error.what();
  }
  return "(none)";
}

}  // namespace

TEST(Decode, EqualsPillowOnThePictureFiles) {
  const auto expected = io::open_tensors(fixture_path("transforms.safetensors"));
  int seen = 0;
  for (const std::string& name : expected->names()) {
    if (!name.starts_with("decoded.")) continue;
    const std::string file = name.substr(8);
    EXPECT_TRUE(equals(decode(file_sample(file), file), expected->read(name))) << file;
    ++seen;
  }
  EXPECT_EQ(seen, 6);
}

TEST(Decode, EqualsPillowOnEveryKindOfFile) {
  const auto expected = io::open_tensors(fixture_path("pillow_extra.safetensors"));
  int seen = 0;
  for (const std::string& name : expected->names()) {
    if (!name.starts_with("file.")) continue;
    const std::string file = name.substr(5);
    const Image image = decode(file_sample(values<std::byte>(expected->read(name))), file);
    EXPECT_TRUE(equals(image, expected->read("rgb." + file))) << file;
    ++seen;
  }
  EXPECT_EQ(seen, 25);
}

TEST(Decode, RawPixels) {
  const Sample grey{Encoding::kRawGrey, 1, 2, {std::byte{7}, std::byte{255}}};
  const Image image = decode(grey, "grey");
  EXPECT_EQ(std::vector<uint8_t>(image.data(), image.data() + 6), (std::vector<uint8_t>{7, 7, 7, 255, 255, 255}));
  const Sample rgb{Encoding::kRawRgb, 1, 1, {std::byte{1}, std::byte{2}, std::byte{3}}};
  EXPECT_EQ(decode(rgb, "rgb").data()[2], 3);
}

TEST(Decode, RefusesWhatIsNoPicture) {
  EXPECT_THAT(error_of(file_sample(std::vector<std::byte>{})), HasSubstr("not a JPEG, PNG or WebP"));
  EXPECT_THAT(error_of(file_sample(std::vector<std::byte>(50))), HasSubstr("not a JPEG, PNG or WebP"));
  EXPECT_THAT(error_of({Encoding::kRawGrey, 2, 2, std::vector<std::byte>(3)}), HasSubstr("instead of 4"));
  EXPECT_THAT(error_of({Encoding::kRawRgb, 0, 2, {}}), HasSubstr("empty"));
  EXPECT_THAT(error_of({Encoding::kRawGrey, -1, -4, std::vector<std::byte>(4)}), HasSubstr("empty"));
  EXPECT_THAT(error_of({Encoding::kRawGrey, int64_t{1} << 62, 4, {}}), HasSubstr("at most"));
  EXPECT_THAT(error_of({Encoding::kRawGrey, 65536, 65536, {}}), HasSubstr("at most"));
  EXPECT_THAT(error_of({static_cast<Encoding>(9), 1, 1, {}}), HasSubstr("unknown encoding 9"));
}

TEST(Decode, RefusesHugeClaimsBeforeAskingForMemory) {
  Sample png = file_sample("picture.png");
  for (int i = 16; i < 24; ++i) png.bytes[i] = std::byte{static_cast<uint8_t>(i % 4 == 2 ? 0xFF : 0)};  // 65280 a side
  EXPECT_NE(error_of(png), "(none)");  // the header's checksum is wrong, too
  Sample jpeg = file_sample("picture.jpg");
  for (size_t i = 0; i + 9 < jpeg.bytes.size(); ++i) {
    if (jpeg.bytes[i] != std::byte{0xFF} || jpeg.bytes[i + 1] != std::byte{0xC0}) continue;
    for (size_t k = 5; k < 9; ++k) jpeg.bytes[i + k] = std::byte{0xF0};
    break;
  }
  EXPECT_THAT(error_of(jpeg), HasSubstr("at most"));
}

TEST(Decode, RefusesFilesThatEndEarly) {
  const auto extra = io::open_tensors(fixture_path("pillow_extra.safetensors"));
  std::vector<std::pair<std::string, std::vector<std::byte>>> files;
  for (const char* name : {"picture.jpg", "picture_cmyk.jpg", "picture.png", "picture_palette.png"}) {
    files.emplace_back(name, file_sample(name).bytes);
  }
  for (const char* name : {"progressive.jpg", "lossy.webp", "lossless_alpha.webp", "interlaced_rgb.png"}) {
    files.emplace_back(name, values<std::byte>(extra->read(std::string("file.") + name)));
  }
  for (const auto& [name, bytes] : files) {
    for (int percent : {0, 1, 5, 20, 50, 80, 95}) {
      std::vector<std::byte> part(bytes.begin(), bytes.begin() + static_cast<int64_t>(bytes.size()) * percent / 100);
      EXPECT_NE(error_of(file_sample(part)), "(none)") << name << " cut at " << percent << " %";
    }
  }
}

// A decoder must come back from any bytes, with a picture or with an error: never crash, hang or read outside.
TEST(Decode, SurvivesMutatedFiles) {
  const auto extra = io::open_tensors(fixture_path("pillow_extra.safetensors"));
  for (const std::vector<std::string>& kind :
       {std::vector<std::string>{"420_odd.jpg", "progressive.jpg", "ycck.jpg"},
        std::vector<std::string>{"type6_16.png", "interlaced_palette.png", "palette2.png"},
        std::vector<std::string>{"lossy.webp", "lossy_alpha.webp", "lossless_alpha.webp"}}) {
    int decoded = 0;
    for (uint32_t trial = 0; trial < 1000; ++trial) {
      core::RandomStream random({11, core::Purpose::kTest, trial, 0, 0});
      std::vector<std::byte> bytes = values<std::byte>(extra->read("file." + kind[trial % kind.size()]));
      for (uint32_t changes = 1 + random.below(8); changes > 0; --changes) {
        bytes[random.below(static_cast<uint32_t>(bytes.size()))] = static_cast<std::byte>(random.below(256));
      }
      if (random.below(4) == 0) bytes.resize(random.below(static_cast<uint32_t>(bytes.size())));
      try {
        decode(file_sample(std::move(bytes)), kind[0]);
        ++decoded;
      } catch (const core::DataError&) {
      }
    }
    EXPECT_LT(decoded, 1000) << kind[0];
  }
}

}  // namespace snell::data
