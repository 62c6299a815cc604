// Encoded bytes to RGB pixels, bit-equal to Pillow's Image.open(…).convert("RGB").
#pragma once

#include <string>

#include "snell/data/image.h"
#include "snell/data/sample_source.h"

namespace snell::data {

// JPEG (grey, YCbCr, RGB, CMYK and YCCK with Adobe's inversion), PNG (every colour type and depth, interlaced or not),
// WebP (still), and raw grey or RGB pixels. As in Pillow, alpha is dropped and not composed, 16-bit grey is clipped at
// 255, 16-bit colour keeps its high byte, and an EXIF orientation is not applied.
// `name` is what errors call the picture. Throws DataError for anything that is not a whole picture of one of these
// kinds, and for more than kMaxImageSide or kMaxImagePixels. Thread-safe.
Image decode(const Sample& sample, const std::string& name);

}  // namespace snell::data
