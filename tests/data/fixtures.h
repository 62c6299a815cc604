// Pictures and numbers from Pillow (tests/fixtures/transforms.safetensors, pillow_extra.safetensors).
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "snell/data/image.h"
#include "snell/data/sample_source.h"
#include "snell/io/tensor_source.h"

namespace snell::data {

inline std::string fixture_path(const std::string& name) {
  return std::string(SNELL_SOURCE_DIR "/tests/fixtures/") + name;
}

inline Sample file_sample(std::vector<std::byte> bytes) {
  return {Encoding::kFile, 0, 0, std::move(bytes)};
}

inline Sample file_sample(const std::string& fixture) {
  std::ifstream in(fixture_path(fixture), std::ios::binary);
  EXPECT_TRUE(in.good()) << fixture;
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return file_sample(std::move(bytes));
}

template <class T>
std::vector<T> values(const io::HostTensor& tensor) {
  EXPECT_EQ(static_cast<size_t>(io::size_of(tensor.dtype)), sizeof(T));
  std::vector<T> out(tensor.bytes.size() / sizeof(T));
  std::memcpy(out.data(), tensor.bytes.data(), tensor.bytes.size());
  return out;
}

// Equal to a uint8 tensor [height, width, 3] in every byte.
inline ::testing::AssertionResult equals(const Image& image, const io::HostTensor& expected) {
  const std::vector<int64_t> shape{image.height(), image.width(), 3};
  if (shape != expected.shape) {
    return ::testing::AssertionFailure() << "is " << image.height() << " x " << image.width() << ", expected "
                                         << expected.shape_text();
  }
  int64_t different = 0;
  int largest = 0;
  for (int64_t i = 0; i < image.num_bytes(); ++i) {
    const int difference = std::abs(image.data()[i] - static_cast<int>(expected.bytes[static_cast<size_t>(i)]));
    different += difference != 0;
    largest = std::max(largest, difference);
  }
  if (different == 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << different << " bytes differ, by " << largest << " at most";
}

}  // namespace snell::data
