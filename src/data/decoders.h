// The decoders behind decode(), one a file format. All throw DataError that names the picture.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "snell/data/image.h"

namespace snell::data {

Image decode_jpeg(std::span<const std::byte> bytes, const std::string& name);
Image decode_png(std::span<const std::byte> bytes, const std::string& name);
Image decode_webp(std::span<const std::byte> bytes, const std::string& name);

// Throws DataError unless both sides and their product are within the budgets.
void check_image_size(int64_t height, int64_t width, const std::string& name);

// [num_pixels] grey levels to RGB.
void grey_to_rgb(const uint8_t* grey, int64_t num_pixels, uint8_t* rgb);

}  // namespace snell::data
