// PNG through libpng's low-level API (libpng-manual.txt, III "Reading"). As with libjpeg, errors leave by longjmp, so
// the functions that set the jump hold no object with a destructor.
#include <png.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <new>
#include <vector>

#include "decoders.h"
#include "snell/core/error.h"

namespace snell::data {
namespace {

constexpr int kMaxAncillaryChunks = 1000;
constexpr size_t kMaxChunkBytes = 8 << 20;  // of one decompressed ancillary chunk: colour profiles, texts

// What libpng is told to hand over for a pixel.
enum class Layout { kRgb, kGrey8, kGrey16, kPaletteIndex };

class PngReader {
 public:
  explicit PngReader(std::span<const std::byte> bytes) : bytes_(bytes) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, [](png_structp, png_const_charp) {});
    info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw std::bad_alloc();
    }
  }
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  // These return false on an error, with its text in message().
  bool read_header() {
    if (setjmp(png_jmpbuf(png_))) return false;
    png_set_user_limits(png_, kMaxImageSide, kMaxImageSide);
    png_set_chunk_cache_max(png_, kMaxAncillaryChunks);
    png_set_chunk_malloc_max(png_, kMaxChunkBytes);
    png_set_check_for_invalid_index(png_, -1);  // an index beyond the palette is black, as in Pillow
    png_set_read_fn(png_, this, on_read);
    png_read_info(png_, info_);
    return true;
  }
  bool start() {
    if (setjmp(png_jmpbuf(png_))) return false;
    const int depth = png_get_bit_depth(png_, info_);
    const int color_type = png_get_color_type(png_, info_);
    if (color_type == PNG_COLOR_TYPE_PALETTE) {
      layout_ = Layout::kPaletteIndex;
      png_set_packing(png_);
      png_colorp palette = nullptr;
      int size = 0;
      png_get_PLTE(png_, info_, &palette, &size);
      std::copy_n(palette, std::min(size, 256), palette_.begin());
    } else if (color_type == PNG_COLOR_TYPE_GRAY && depth == 16) {
      layout_ = Layout::kGrey16;
    } else {
      layout_ = (color_type & PNG_COLOR_MASK_COLOR) != 0 ? Layout::kRgb : Layout::kGrey8;
      if (depth == 16) png_set_strip_16(png_);
      if (depth < 8) png_set_expand_gray_1_2_4_to_8(png_);
      png_set_strip_alpha(png_);
    }
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }
  bool read_rows(uint8_t** rows) {
    if (setjmp(png_jmpbuf(png_))) return false;
    png_read_image(png_, rows);
    return true;
  }

  const char* message() const { return message_; }
  int64_t height() const { return png_get_image_height(png_, info_); }
  int64_t width() const { return png_get_image_width(png_, info_); }
  int64_t row_bytes() const { return static_cast<int64_t>(png_get_rowbytes(png_, info_)); }
  Layout layout() const { return layout_; }
  const std::array<png_color, 256>& palette() const { return palette_; }

 private:
  [[noreturn]] static void on_error(png_structp png, png_const_charp text) {
    auto* self = static_cast<PngReader*>(png_get_error_ptr(png));
    std::snprintf(self->message_, sizeof self->message_, "%s", text);
    png_longjmp(png, 1);
  }
  static void on_read(png_structp png, png_bytep out, size_t size) {
    auto* self = static_cast<PngReader*>(png_get_io_ptr(png));
    if (size > self->bytes_.size() - self->position_) png_error(png, "the file ends too early");
    std::memcpy(out, self->bytes_.data() + self->position_, size);
    self->position_ += size;
  }

  std::span<const std::byte> bytes_;
  size_t position_ = 0;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  Layout layout_ = Layout::kRgb;
  std::array<png_color, 256> palette_{};
  char message_[200] = "";
};

void row_to_rgb(const PngReader& reader, const uint8_t* in, int64_t width, uint8_t* rgb) {
  if (reader.layout() == Layout::kGrey8) return grey_to_rgb(in, width, rgb);
  for (int64_t x = 0; x < width; ++x, rgb += 3) {
    if (reader.layout() == Layout::kGrey16) {
      rgb[0] = rgb[1] = rgb[2] = in[2 * x] != 0 ? 255 : in[2 * x + 1];  // big-endian; clipped, not scaled, as in Pillow
    } else {
      const png_color& color = reader.palette()[in[x]];
      rgb[0] = color.red;
      rgb[1] = color.green;
      rgb[2] = color.blue;
    }
  }
}

}  // namespace

Image decode_png(std::span<const std::byte> bytes, const std::string& name) {
  PngReader reader(bytes);
  const auto demand = [&](bool ok) {
    if (!ok) throw core::DataError(core::str("PNG image '", name, "' is damaged or cut short: ", reader.message()));
  };
  demand(reader.read_header());
  const int64_t height = reader.height();
  const int64_t width = reader.width();
  check_image_size(height, width, name);
  demand(reader.start());
  const Layout layout = reader.layout();
  const int64_t row_bytes = width * (layout == Layout::kRgb ? 3 : layout == Layout::kGrey16 ? 2 : 1);
  core::check(reader.row_bytes() == row_bytes,
              core::str("libpng gives rows of ", reader.row_bytes(), " bytes for '", name, "', expected ", row_bytes));

  Image image(height, width);
  std::unique_ptr<uint8_t[]> other;  // rows that are not RGB yet
  if (layout != Layout::kRgb)
    other = std::make_unique_for_overwrite<uint8_t[]>(static_cast<size_t>(height * row_bytes));
  std::vector<uint8_t*> rows(static_cast<size_t>(height));
  for (int64_t y = 0; y < height; ++y) rows[y] = other ? other.get() + y * row_bytes : image.row(y);
  demand(reader.read_rows(rows.data()));
  if (other) {
    for (int64_t y = 0; y < height; ++y) row_to_rgb(reader, rows[y], width, image.row(y));
  }
  return image;
}

}  // namespace snell::data
