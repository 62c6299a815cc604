// The random changes of a training picture. What is drawn and what is done are apart: each draw is a value.
#pragma once

#include <array>
#include <cstdint>

#include "snell/core/random.h"
#include "snell/data/image.h"
#include "snell/data/resize.h"

namespace snell::data {

struct CropRange {
  double min_scale = 0.08, max_scale = 1.0;         // the crop's share of the picture's area
  double min_ratio = 3.0 / 4, max_ratio = 4.0 / 3;  // width / height
};

// torchvision's RandomResizedCrop.get_params(): ten tries, then the largest centred crop within the range of ratios.
Box draw_crop(int64_t height, int64_t width, const CropRange& range, core::RandomStream& random);

// torchvision's ColorJitter(brightness, contrast, saturation) with one strength for all.
struct Jitter {
  enum Operation : uint8_t { kBrightness, kContrast, kSaturation };
  std::array<Operation, 3> order{kBrightness, kContrast, kSaturation};
  float brightness = 1, contrast = 1, saturation = 1;
};
// A random order, each factor uniform in [max(0, 1 - strength), 1 + strength].
Jitter draw_jitter(double strength, core::RandomStream& random);
// In place, bit-equal to Pillow's ImageEnhance.Brightness, Contrast and Color in that order.
void apply_jitter(const Jitter& jitter, Image& image);

void flip_horizontally(Image& image);

// The picture moved by (down, right) pixels; what comes in is black.
Image shift(const Image& image, int64_t down, int64_t right);

}  // namespace snell::data
