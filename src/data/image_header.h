// What the first bytes of an image file say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace snell::data {

struct ImageHeader {
  const char* format = "";  // "JPEG", "PNG", "WebP"
  uint32_t height = 0, width = 0;
};

// Reads the header through the format's own library, without decoding. Returns "" or what is wrong.
std::string read_image_header(std::span<const std::byte> bytes, ImageHeader& header);

}  // namespace snell::data
