#include "snell/data/encode_png.h"

#include <png.h>

#include "snell/core/error.h"

namespace snell::data {

std::string encode_png(const Image& image) {
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  header.width = static_cast<png_uint_32>(image.width());
  header.height = static_cast<png_uint_32>(image.height());
  header.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(header);
  std::string out(size, '\0');
  core::check(png_image_write_to_memory(&header, out.data(), &size, 0, image.data(), 0, nullptr) != 0,
              core::str("a picture could not be written as PNG: ", header.message));
  out.resize(size);
  return out;
}

}  // namespace snell::data
