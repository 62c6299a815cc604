#include "snell/data/decode.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "decoders.h"
#include "snell/core/error.h"

namespace snell::data {

void check_image_size(int64_t height, int64_t width, const std::string& name) {
  if (height < 1 || width < 1) {
    throw core::DataError(core::str("image '", name, "' is empty (", height, " x ", width, " pixels)"));
  }
  if (height > kMaxImageSide || width > kMaxImageSide || height * width > kMaxImagePixels) {
    throw core::DataError(core::str("image '", name, "' claims ", height, " x ", width, " pixels; at most ",
                                    kMaxImageSide, " a side and ", kMaxImagePixels,
                                    " in all are read. Shrink it before converting."));
  }
}

void grey_to_rgb(const uint8_t* grey, int64_t num_pixels, uint8_t* rgb) {
  for (int64_t i = 0; i < num_pixels; ++i) {
    rgb[3 * i] = rgb[3 * i + 1] = rgb[3 * i + 2] = grey[i];
  }
}

namespace {

Image decode_raw(const Sample& sample, int64_t channels, const std::string& name) {
  check_image_size(sample.height, sample.width, name);
  const int64_t expected = sample.height * sample.width * channels;
  if (static_cast<int64_t>(sample.bytes.size()) != expected) {
    throw core::DataError(core::str("raw image '", name, "' of ", sample.height, " x ", sample.width, " x ", channels,
                                    " has ", sample.bytes.size(), " bytes instead of ", expected));
  }
  Image image(sample.height, sample.width);
  const auto* bytes = reinterpret_cast<const uint8_t*>(sample.bytes.data());
  if (channels == 1) {
    grey_to_rgb(bytes, sample.height * sample.width, image.data());
  } else {
    std::memcpy(image.data(), bytes, static_cast<size_t>(expected));
  }
  return image;
}

bool starts_with(std::span<const std::byte> bytes, std::string_view magic, size_t offset = 0) {
  return bytes.size() >= offset + magic.size() && std::memcmp(bytes.data() + offset, magic.data(), magic.size()) == 0;
}

Image decode_file(std::span<const std::byte> bytes, const std::string& name) {
  if (starts_with(bytes, "\xFF\xD8\xFF")) return decode_jpeg(bytes, name);
  if (starts_with(bytes, "\x89PNG\r\n\x1A\n")) return decode_png(bytes, name);
  if (starts_with(bytes, "RIFF") && starts_with(bytes, "WEBP", 8)) return decode_webp(bytes, name);
  throw core::DataError(core::str("image '", name, "' (", bytes.size(),
                                  " bytes) is not a JPEG, PNG or WebP file: its first bytes are of none of them"));
}

}  // namespace

Image decode(const Sample& sample, const std::string& name) {
  switch (sample.encoding) {
    case Encoding::kFile:
      return decode_file(sample.bytes, name);
    case Encoding::kRawGrey:
      return decode_raw(sample, 1, name);
    case Encoding::kRawRgb:
      return decode_raw(sample, 3, name);
  }
  throw core::DataError(core::str("image '", name, "' has the unknown encoding ", static_cast<int>(sample.encoding),
                                  " (known: 0, 1, 2)"));
}

}  // namespace snell::data
