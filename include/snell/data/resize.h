// Pillow's resize, to the bit: a separable, antialiased convolution in fixed point, rounded to 8 bits between its
// passes.
#pragma once

#include <cstdint>

#include "snell/data/image.h"

namespace snell::data {

enum class Filter { kBilinear, kBicubic };

// A rectangle of pixels inside an image.
struct Box {
  int64_t top = 0, left = 0, height = 0, width = 0;
  bool operator==(const Box&) const = default;
};

// The pixels of `box`, copied. The box must lie inside the image.
Image crop(const Image& image, const Box& box);

// Pillow's image.crop(box).resize((width, height), filter): the filter sees nothing outside of the box. Without a box
// the whole image. Source: Pillow 13's src/libImaging/Resample.c (bicubic with
// a = -0.5; older versions differ by a level or two where the height shrinks much more than the width). Throws
// DataError where the result or the picture between the passes would be larger than an image may be.
Image resize(const Image& image, const Box& box, int64_t height, int64_t width, Filter filter);
Image resize(const Image& image, int64_t height, int64_t width, Filter filter);

// torchvision's Resize(shorter) on a picture: the shorter side becomes `shorter`, the other follows, rounded down.
Image resize_shorter_side(const Image& image, int64_t shorter, Filter filter);

// torchvision's CenterCrop(size), for images that are at least that large. Throws DataError for smaller ones.
Image center_crop(const Image& image, int64_t size);

}  // namespace snell::data
