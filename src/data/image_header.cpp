#include "image_header.h"

// stdio first: jpeglib.h uses FILE without including it.
#include <cstdio>
// clang-format off
#include <jpeglib.h>
// clang-format on
#include <png.h>
#include <webp/decode.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <string_view>

#include "snell/core/text.h"
#include "snell/data/image.h"

namespace snell::data {

using core::str;

namespace {

// libjpeg and libpng report errors by leaving through longjmp, so nothing with a destructor lives in these functions.
struct JpegErrors {
  jpeg_error_mgr base;
  std::jmp_buf leave;
  char message[JMSG_LENGTH_MAX];
};

bool read_jpeg(std::span<const std::byte> bytes, ImageHeader& header, char* message) {
  jpeg_decompress_struct info;
  JpegErrors errors;
  info.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = [](j_common_ptr common) {
    auto* own = reinterpret_cast<JpegErrors*>(common->err);
    common->err->format_message(common, own->message);
    std::longjmp(own->leave, 1);
  };
  errors.base.emit_message = [](j_common_ptr, int) {};
  if (setjmp(errors.leave) != 0) {
    std::memcpy(message, errors.message, JMSG_LENGTH_MAX);
    jpeg_destroy_decompress(&info);
    return false;
  }
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  jpeg_read_header(&info, TRUE);
  header = {"JPEG", info.image_height, info.image_width};
  jpeg_destroy_decompress(&info);
  return true;
}

struct PngInput {
  std::span<const std::byte> rest;
  char message[JMSG_LENGTH_MAX];
};

bool read_png(std::span<const std::byte> bytes, ImageHeader& header, char* message) {
  PngInput input{bytes, ""};
  png_structp png = png_create_read_struct(
      PNG_LIBPNG_VER_STRING, &input,
      [](png_structp self, png_const_charp text) {
        auto* own = static_cast<PngInput*>(png_get_error_ptr(self));
        std::snprintf(own->message, sizeof own->message, "%s", text);
        png_longjmp(self, 1);
      },
      [](png_structp, png_const_charp) {});
  png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
  if (info == nullptr || setjmp(png_jmpbuf(png)) != 0) {
    std::memcpy(message, input.message, sizeof input.message);
    png_destroy_read_struct(&png, &info, nullptr);
    return false;
  }
  png_set_read_fn(png, &input, [](png_structp self, png_bytep out, size_t size) {
    auto* own = static_cast<PngInput*>(png_get_io_ptr(self));
    if (size > own->rest.size()) png_error(self, "the file is cut off");
    std::memcpy(out, own->rest.data(), size);
    own->rest = own->rest.subspan(size);
  });
  png_read_info(png, info);
  header = {"PNG", png_get_image_height(png, info), png_get_image_width(png, info)};
  png_destroy_read_struct(&png, &info, nullptr);
  return true;
}

std::string read_webp(std::span<const std::byte> bytes, ImageHeader& header) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), &features) != VP8_STATUS_OK) {
    return "its WebP header is damaged or cut off";
  }
  if (features.has_animation != 0) return "it is an animated WebP";
  header = {"WebP", static_cast<uint32_t>(features.height), static_cast<uint32_t>(features.width)};
  return "";
}

}  // namespace

std::string read_image_header(std::span<const std::byte> bytes, ImageHeader& header) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), std::min<size_t>(bytes.size(), 16));
  char message[JMSG_LENGTH_MAX] = "";
  if (bytes.empty()) return "it is empty";
  if (text.starts_with("\xff\xd8\xff")) {
    if (!read_jpeg(bytes, header, message)) return str("its JPEG header is damaged (", message, ")");
  } else if (text.starts_with("\x89PNG\r\n\x1a\n")) {
    if (!read_png(bytes, header, message)) return str("its PNG header is damaged (", message, ")");
  } else if (text.starts_with("RIFF") && text.size() >= 12 && text.substr(8, 4) == "WEBP") {
    if (std::string problem = read_webp(bytes, header); !problem.empty()) return problem;
  } else {
    return "it is no JPEG, PNG or WebP image";
  }
  if (header.height == 0 || header.width == 0) return "it has no pixels";
  if (header.height > kMaxImageSide || header.width > kMaxImageSide ||
      int64_t{header.height} * header.width > kMaxImagePixels) {
    return str("it claims ", header.height, " x ", header.width, " pixels, more than are read");
  }
  return "";
}

}  // namespace snell::data
