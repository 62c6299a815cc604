#include "snell/data/augment.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "snell/core/error.h"

namespace snell::data {
namespace {

// Pillow's ImagingBlend (Blend.c) of one value: single precision, cut off towards zero, clipped.
inline uint8_t blend(uint8_t from, uint8_t to, float factor) {
  const float value = static_cast<float>(from) + factor * static_cast<float>(to - from);
  return static_cast<uint8_t>(std::clamp(value, 0.0F, 255.0F));
}

// Pillow's L24 (Convert.c): ITU-R 601-2 luma in 16-bit fixed point.
inline uint8_t luma(const uint8_t* rgb) {
  return static_cast<uint8_t>((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16);
}

// Blends every value with one constant.
void blend_with(uint8_t constant, float factor, Image& image) {
  std::array<uint8_t, 256> table;
  for (int v = 0; v < 256; ++v) table[v] = blend(constant, static_cast<uint8_t>(v), factor);
  uint8_t* values = image.data();
  for (int64_t i = 0; i < image.num_bytes(); ++i) values[i] = table[values[i]];
}

// ImageEnhance.Contrast's grey: the luma's mean, rounded half up.
uint8_t mean_luma(const Image& image) {
  int64_t sum = 0;
  for (int64_t i = 0; i < image.num_bytes(); i += 3) sum += luma(image.data() + i);
  const double count = static_cast<double>(image.height() * image.width());
  return static_cast<uint8_t>(static_cast<double>(sum) / count + 0.5);
}

void saturate(float factor, Image& image) {
  uint8_t* rgb = image.data();
  for (int64_t i = 0; i < image.num_bytes(); i += 3) {
    const uint8_t grey = luma(rgb + i);
    for (int c = 0; c < 3; ++c) rgb[i + c] = blend(grey, rgb[i + c], factor);
  }
}

int64_t below(core::RandomStream& random, int64_t bound) {
  return random.below(static_cast<uint32_t>(bound));
}

}  // namespace

Box draw_crop(int64_t height, int64_t width, const CropRange& range, core::RandomStream& random) {
  const double area = static_cast<double>(height * width);
  const double low = std::log(range.min_ratio);
  const double high = std::log(range.max_ratio);
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = area * random.uniform(range.min_scale, range.max_scale);
    const double ratio = std::exp(random.uniform(low, high));
    // llrint rounds halves to even, as Python's round() does.
    const int64_t w = std::llrint(std::sqrt(target * ratio));
    const int64_t h = std::llrint(std::sqrt(target / ratio));
    if (0 < w && w <= width && 0 < h && h <= height) {
      const int64_t top = below(random, height - h + 1);
      const int64_t left = below(random, width - w + 1);
      return {top, left, h, w};
    }
  }
  const double ratio = static_cast<double>(width) / static_cast<double>(height);
  int64_t w = width;
  int64_t h = height;
  if (ratio < range.min_ratio) {
    h = std::clamp<int64_t>(std::llrint(static_cast<double>(width) / range.min_ratio), 1, height);
  } else if (ratio > range.max_ratio) {
    w = std::clamp<int64_t>(std::llrint(static_cast<double>(height) * range.max_ratio), 1, width);
  }
  return {(height - h) / 2, (width - w) / 2, h, w};
}

Jitter draw_jitter(double strength, core::RandomStream& random) {
  Jitter jitter;
  for (int i = 2; i > 0; --i) std::swap(jitter.order[i], jitter.order[below(random, i + 1)]);
  const auto factor = [&] { return static_cast<float>(random.uniform(std::max(0.0, 1.0 - strength), 1.0 + strength)); };
  jitter.brightness = factor();
  jitter.contrast = factor();
  jitter.saturation = factor();
  return jitter;
}

void apply_jitter(const Jitter& jitter, Image& image) {
  for (const auto operation : jitter.order) {
    switch (operation) {
      case Jitter::kBrightness:
        blend_with(0, jitter.brightness, image);
        break;
      case Jitter::kContrast:
        blend_with(mean_luma(image), jitter.contrast, image);
        break;
      case Jitter::kSaturation:
        saturate(jitter.saturation, image);
        break;
    }
  }
}

void flip_horizontally(Image& image) {
  for (int64_t y = 0; y < image.height(); ++y) {
    uint8_t* left = image.row(y);
    for (uint8_t* right = left + (image.width() - 1) * 3; left < right; left += 3, right -= 3) {
      std::swap_ranges(left, left + 3, right);
    }
  }
}

Image shift(const Image& image, int64_t down, int64_t right) {
  Image out(image.height(), image.width());
  std::memset(out.data(), 0, static_cast<size_t>(out.num_bytes()));
  const int64_t rows = image.height() - std::abs(down);
  const int64_t columns = image.width() - std::abs(right);
  if (rows <= 0 || columns <= 0) return out;
  const int64_t from_row = std::max<int64_t>(-down, 0), to_row = std::max<int64_t>(down, 0);
  const int64_t from_column = std::max<int64_t>(-right, 0), to_column = std::max<int64_t>(right, 0);
  for (int64_t y = 0; y < rows; ++y) {
    std::memcpy(out.row(to_row + y) + to_column * 3, image.row(from_row + y) + from_column * 3,
                static_cast<size_t>(columns * 3));
  }
  return out;
}

}  // namespace snell::data
