// JPEG through the plain libjpeg API (libjpeg.txt, "Decompression details"), with libjpeg's default settings, which are
// Pillow's. libjpeg reports errors by a call that must not return: they leave by longjmp, so every function that sets
// the jump holds no object with a destructor.
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <vector>

// jpeglib.h needs size_t and FILE declared before it.
#include <jpeglib.h>

#include <jerror.h>

#include "decoders.h"
#include "snell/core/error.h"

namespace snell::data {
namespace {

// A small progressive file can ask for thousands of passes over a huge picture.
constexpr int kMaxScans = 500;

class JpegReader {
 public:
  JpegReader() {
    info_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = on_error;
    errors_.base.emit_message = on_message;
    progress_.progress_monitor = on_progress;
  }
  ~JpegReader() { jpeg_destroy_decompress(&info_); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  // These return false on an error, with its text in message().
  bool read_header(std::span<const std::byte> bytes) {
    if (setjmp(errors_.escape)) return false;
    jpeg_create_decompress(&info_);
    info_.progress = &progress_;
    jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
    jpeg_read_header(&info_, TRUE);
    return true;
  }
  bool start(J_COLOR_SPACE color_space) {
    if (setjmp(errors_.escape)) return false;
    info_.out_color_space = color_space;
    jpeg_start_decompress(&info_);
    return true;
  }
  bool read_row(uint8_t* row) {
    if (setjmp(errors_.escape)) return false;
    JSAMPROW rows[1] = {row};
    jpeg_read_scanlines(&info_, rows, 1);
    return true;
  }
  bool finish() {
    if (setjmp(errors_.escape)) return false;
    jpeg_finish_decompress(&info_);
    return true;
  }

  const char* message() const { return errors_.message; }
  const jpeg_decompress_struct& info() const { return info_; }

 private:
  struct Errors {
    jpeg_error_mgr base;  // first, so that libjpeg's pointer to it is a pointer to this struct
    std::jmp_buf escape;
    char message[JMSG_LENGTH_MAX];
  };

  [[noreturn]] static void on_error(j_common_ptr info) {
    auto* errors = reinterpret_cast<Errors*>(info->err);
    info->err->format_message(info, errors->message);
    std::longjmp(errors->escape, 1);
  }
  static void on_message(j_common_ptr info, int level) {
    // libjpeg only warns of a file that ends early, and fills up with grey. Other warnings are passed over, as in
    // Pillow.
    if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) on_error(info);
  }
  static void on_progress(j_common_ptr info) {
    if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMaxScans) return;
    auto* errors = reinterpret_cast<Errors*>(info->err);
    std::snprintf(errors->message, sizeof errors->message, "more than %d scans", kMaxScans);
    std::longjmp(errors->escape, 1);
  }

  jpeg_decompress_struct info_{};
  jpeg_progress_mgr progress_{};
  Errors errors_{};
};

// Adobe's files hold inverted CMYK; Pillow takes every four-component JPEG for one. Pillow's cmyk2rgb (Convert.c) on
// the inverted values, with its rounded division by 255.
void inverted_cmyk_to_rgb(const uint8_t* cmyk, int64_t num_pixels, uint8_t* rgb) {
  for (int64_t i = 0; i < num_pixels; ++i) {
    const int white = cmyk[4 * i + 3];
    for (int c = 0; c < 3; ++c) {
      const int product = (255 - cmyk[4 * i + c]) * white + 128;
      const int ink = ((product >> 8) + product) >> 8;
      rgb[3 * i + c] = static_cast<uint8_t>(white > ink ? white - ink : 0);
    }
  }
}

}  // namespace

Image decode_jpeg(std::span<const std::byte> bytes, const std::string& name) {
  JpegReader reader;
  const auto demand = [&](bool ok) {
    if (!ok) throw core::DataError(core::str("JPEG image '", name, "' is damaged or cut short: ", reader.message()));
  };
  demand(reader.read_header(bytes));
  const auto& info = reader.info();
  const int channels = info.num_components;
  if (info.data_precision != 8 || (channels != 1 && channels != 3 && channels != 4)) {
    throw core::DataError(core::str("JPEG image '", name, "' has ", channels, " components of ", info.data_precision,
                                    " bits; 1, 3 or 4 of 8 bits are read"));
  }
  check_image_size(info.image_height, info.image_width, name);
  demand(reader.start(channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK));

  Image image(info.output_height, info.output_width);
  std::vector<uint8_t> row(channels == 3 ? 0 : static_cast<size_t>(image.width() * channels));
  for (int64_t y = 0; y < image.height(); ++y) {
    demand(reader.read_row(channels == 3 ? image.row(y) : row.data()));
    if (channels == 1) grey_to_rgb(row.data(), image.width(), image.row(y));
    if (channels == 4) inverted_cmyk_to_rgb(row.data(), image.width(), image.row(y));
  }
  demand(reader.finish());
  return image;
}

}  // namespace snell::data
