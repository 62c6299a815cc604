// Flipped bits and cut files, in every format.
#include <gtest/gtest.h>

#include "../../src/io/formats.h"
#include "snell/core/error.h"
#include "snell/core/random.h"
#include "support/scratch.h"

namespace snell::io {

using core::WeightsError;
using test::slurp;

static const std::string kFixtures = SNELL_SOURCE_DIR "/tests/fixtures/";

static std::vector<std::byte> bytes_of(const std::string& path) {
  const std::string text = slurp(kFixtures + path);
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

// Whether opening the file and reading all of it is refused, as it should be, by a WeightsError.
static bool is_refused(std::vector<std::byte> content) {
  try {
    open_tensors(FileBytes::of("damaged", std::move(content)))->verify();
    return false;
  } catch (const WeightsError&) {
    return true;
  }
}

static void flip_and_expect_refusal(std::vector<std::byte>& content, size_t bit, const std::string& file) {
  const std::byte mask{static_cast<uint8_t>(1u << (bit % 8))};
  content[bit / 8] ^= mask;
  EXPECT_TRUE(is_refused(content)) << file << ", bit " << bit % 8 << " of byte " << bit / 8;
  content[bit / 8] ^= mask;
}

TEST(Damage, EveryFlippedBitOfASmallArchiveIsRefused) {
  for (const char* file : {"weights/numpy_types.npz", "weights/numpy_types_deflated.npz", "weights/torch_types.pth"}) {
    std::vector<std::byte> content = bytes_of(file);
    EXPECT_FALSE(is_refused(content)) << file;
    for (size_t bit = 0; bit < 8 * content.size(); ++bit) flip_and_expect_refusal(content, bit, file);
  }
}

TEST(Damage, FlippedBitsOfPublishedArchivesAreRefused) {
  for (const char* file : {"weights/vit_google.npz", "weights/vit_google_opt_target.npz", "weights/vit_mae.pth",
                           "weights/vit_moco.pth.tar", "weights/swin_microsoft.pth", "weights/convnext_facebook.pth",
                           "weights/torch_training.pth"}) {
    std::vector<std::byte> content = bytes_of(file);
    EXPECT_FALSE(is_refused(content)) << file;
    core::RandomStream random({1, core::Purpose::kTest, 0, 0, 0});
    for (int i = 0; i < 400; ++i) {
      const auto byte = random.below(static_cast<uint32_t>(content.size()));
      flip_and_expect_refusal(content, 8 * byte + random.below(8), file);
    }
    // The directory at the end, where most of what is not content lies.
    for (int i = 0; i < 400; ++i) {
      const size_t byte = content.size() - 1 - random.below(4096);
      flip_and_expect_refusal(content, 8 * byte + random.below(8), file);
    }
  }
}

TEST(Damage, EveryCutFileIsRefused) {
  for (const char* file :
       {"weights/numpy_types.npz", "weights/numpy_types_deflated.npz", "weights/torch_types.pth",
        "weights/torch_types_legacy.pth", "weights/torch_training_legacy.pth", "losses.safetensors"}) {
    const std::vector<std::byte> content = bytes_of(file);
    EXPECT_FALSE(is_refused(content)) << file;
    for (size_t size = 1; size < content.size(); ++size) {
      EXPECT_TRUE(is_refused({content.begin(), content.begin() + static_cast<std::ptrdiff_t>(size)}))
          << file << ", the first " << size << " bytes";
    }
  }
}

TEST(Damage, WhatFollowsAFileIsRefused) {
  for (const char* file :
       {"weights/numpy_types.npz", "weights/torch_types.pth", "weights/torch_types_legacy.pth", "losses.safetensors"}) {
    std::vector<std::byte> content = bytes_of(file);
    content.push_back(std::byte{0});
    EXPECT_TRUE(is_refused(content)) << file;
  }
}

}  // namespace snell::io
