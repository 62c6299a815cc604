// Still WebP through libwebp's advanced decoding API.
#include <webp/decode.h>

#include "decoders.h"
#include "snell/core/error.h"

namespace snell::data {
namespace {

const char* status_text(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return "the file ends too early";
    case VP8_STATUS_BITSTREAM_ERROR:
      return "its bit stream is broken";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "it uses a feature that libwebp does not read";
    case VP8_STATUS_OUT_OF_MEMORY:
      return "there is not enough memory";
    default:
      return "libwebp cannot read it";
  }
}

void demand(VP8StatusCode status, const std::string& name) {
  if (status != VP8_STATUS_OK) {
    throw core::DataError(core::str("WebP image '", name, "' is damaged or cut short: ", status_text(status)));
  }
}

}  // namespace

Image decode_webp(std::span<const std::byte> bytes, const std::string& name) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  WebPDecoderConfig config;
  core::check(WebPInitDecoderConfig(&config) != 0, "libwebp's version is not the one this program was compiled with");
  demand(WebPGetFeatures(data, bytes.size(), &config.input), name);
  if (config.input.has_animation) {
    throw core::DataError(core::str("WebP image '", name, "' is an animation; only still pictures are read"));
  }
  check_image_size(config.input.height, config.input.width, name);
  Image image(config.input.height, config.input.width);
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = image.data();
  config.output.u.RGBA.stride = static_cast<int>(image.width() * 3);
  config.output.u.RGBA.size = static_cast<size_t>(image.num_bytes());
  const VP8StatusCode status = WebPDecode(data, bytes.size(), &config);
  WebPFreeDecBuffer(&config.output);
  demand(status, name);
  return image;
}

}  // namespace snell::data
