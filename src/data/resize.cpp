#include "snell/data/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "snell/core/error.h"

// The loops over pixels are compiled twice, and the better one is chosen when the program starts. Integers only, so the
// results are the same.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define SNELL_HOT __attribute__((target_clones("avx2", "default")))
#else
#define SNELL_HOT
#endif

namespace snell::data {
namespace {

constexpr int kPrecisionBits = 32 - 8 - 2;
constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);

double bilinear_weight(double x) {
  x = std::abs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

double bicubic_weight(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// Along one axis: output i is the sum over k < count[i] of weights[i * stride + k] * input[first[i] + k].
struct Weights {
  int64_t stride = 0;
  std::vector<int32_t> first, count;
  std::vector<int32_t> values;  // fixed point, kPrecisionBits after the point
};

// Resample.c: precompute_coeffs() and normalize_coeffs_8bpc().
Weights make_weights(int64_t in_size, int64_t out_size, Filter filter) {
  const auto weight = filter == Filter::kBilinear ? bilinear_weight : bicubic_weight;
  const double scale = static_cast<double>(in_size) / static_cast<double>(out_size);
  const double filter_scale = std::max(scale, 1.0);
  const double support = (filter == Filter::kBilinear ? 1.0 : 2.0) * filter_scale;
  Weights w;
  w.stride = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
  w.first.resize(static_cast<size_t>(out_size));
  w.count.resize(static_cast<size_t>(out_size));
  w.values.assign(static_cast<size_t>(out_size * w.stride), 0);
  std::vector<double> line(static_cast<size_t>(w.stride));
  for (int64_t i = 0; i < out_size; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const double inverse = 1.0 / filter_scale;
    const auto low = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
    const auto high = std::min<int64_t>(static_cast<int64_t>(center + support + 0.5), in_size);
    double sum = 0;
    for (int64_t k = 0; k < high - low; ++k) {
      line[k] = weight((static_cast<double>(k + low) - center + 0.5) * inverse);
      sum += line[k];
    }
    for (int64_t k = 0; k < high - low; ++k) {
      if (sum != 0.0) line[k] /= sum;
      const double fixed = line[k] * (1 << kPrecisionBits);
      w.values[i * w.stride + k] = static_cast<int32_t>(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
    }
    w.first[i] = static_cast<int32_t>(low);
    w.count[i] = static_cast<int32_t>(high - low);
  }
  return w;
}

inline uint8_t to_byte(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

SNELL_HOT void resize_row(const uint8_t* in, const Weights& w, int64_t out_width, uint8_t* out) {
  for (int64_t x = 0; x < out_width; ++x) {
    const int32_t* weights = w.values.data() + x * w.stride;
    const uint8_t* pixel = in + w.first[x] * 3;
    int32_t red = kHalf, green = kHalf, blue = kHalf;
    for (int32_t k = 0; k < w.count[x]; ++k) {
      red += pixel[3 * k] * weights[k];
      green += pixel[3 * k + 1] * weights[k];
      blue += pixel[3 * k + 2] * weights[k];
    }
    out[3 * x] = to_byte(red);
    out[3 * x + 1] = to_byte(green);
    out[3 * x + 2] = to_byte(blue);
  }
}

SNELL_HOT void add_weighted(const uint8_t* in, int32_t weight, int64_t size, int32_t* sums) {
  for (int64_t i = 0; i < size; ++i) sums[i] += in[i] * weight;
}

SNELL_HOT void to_bytes(const int32_t* sums, int64_t size, uint8_t* out) {
  for (int64_t i = 0; i < size; ++i) out[i] = to_byte(sums[i]);
}

// Pixels of a rectangle inside an image.
struct View {
  const uint8_t* data;
  int64_t row_bytes, height, width;
  const uint8_t* row(int64_t y) const { return data + y * row_bytes; }
};

View view_of(const Image& image, const Box& box) {
  return {image.row(box.top) + box.left * 3, image.width() * 3, box.height, box.width};
}

Image resize_width(const View& in, int64_t out_width, Filter filter) {
  const Weights w = make_weights(in.width, out_width, filter);
  Image out(in.height, out_width);
  for (int64_t y = 0; y < in.height; ++y) resize_row(in.row(y), w, out_width, out.row(y));
  return out;
}

Image resize_height(const View& in, int64_t out_height, Filter filter) {
  const Weights w = make_weights(in.height, out_height, filter);
  Image out(out_height, in.width);
  const int64_t size = in.width * 3;
  std::vector<int32_t> sums(static_cast<size_t>(size));
  for (int64_t y = 0; y < out_height; ++y) {
    std::fill(sums.begin(), sums.end(), kHalf);
    for (int32_t k = 0; k < w.count[y]; ++k) {
      add_weighted(in.row(w.first[y] + k), w.values[y * w.stride + k], size, sums.data());
    }
    to_bytes(sums.data(), size, out.row(y));
  }
  return out;
}

void check_inside(const Image& image, const Box& box) {
  core::check(box.top >= 0 && box.left >= 0 && box.height > 0 && box.width > 0 &&
                  box.top + box.height <= image.height() && box.left + box.width <= image.width(),
              core::str("a box of ", box.height, " x ", box.width, " at (", box.top, ", ", box.left,
                        ") is not inside an image of ", image.height(), " x ", image.width()));
}

}  // namespace

Image crop(const Image& image, const Box& box) {
  check_inside(image, box);
  const View in = view_of(image, box);
  Image out(box.height, box.width);
  for (int64_t y = 0; y < box.height; ++y) std::memcpy(out.row(y), in.row(y), static_cast<size_t>(box.width * 3));
  return out;
}

Image resize(const Image& image, const Box& box, int64_t height, int64_t width, Filter filter) {
  check_inside(image, box);
  core::check(height > 0 && width > 0, "an image cannot be resized to nothing");
  // The order of the passes matters to the rounding: Pillow 13 shrinks a much taller picture vertically first.
  const bool vertical_first = box.height > height && box.height - height > 2 * (box.width - width);
  const int64_t between = vertical_first ? height * box.width : box.height * width;
  if (std::max(height, width) > kMaxImageSide || std::max(between, height * width) > kMaxImagePixels) {
    throw core::DataError(core::str("resizing ", box.height, " x ", box.width, " pixels to ", height, " x ", width,
                                    " would need more than ", kMaxImagePixels, " pixels or ", kMaxImageSide,
                                    " a side"));
  }
  if (height == box.height && width == box.width) return crop(image, box);
  Image out;
  View in = view_of(image, box);
  for (const bool vertical : {vertical_first, !vertical_first}) {
    if ((vertical ? height : width) == (vertical ? in.height : in.width)) continue;
    out = vertical ? resize_height(in, height, filter) : resize_width(in, width, filter);
    in = view_of(out, {0, 0, out.height(), out.width()});
  }
  return out;
}

Image resize(const Image& image, int64_t height, int64_t width, Filter filter) {
  return resize(image, {0, 0, image.height(), image.width()}, height, width, filter);
}

Image resize_shorter_side(const Image& image, int64_t shorter, Filter filter) {
  const int64_t height = image.height();
  const int64_t width = image.width();
  return width <= height ? resize(image, shorter * height / width, shorter, filter)
                         : resize(image, shorter, shorter * width / height, filter);
}

Image center_crop(const Image& image, int64_t size) {
  if (image.height() < size || image.width() < size) {
    throw core::DataError(
        core::str("an image of ", image.height(), " x ", image.width(), " is too small for a centre crop of ", size));
  }
  // Python's round(): halves to even.
  const auto middle = [&](int64_t side) { return std::llrint(static_cast<double>(side - size) / 2.0); };
  return crop(image, {middle(image.height()), middle(image.width()), size, size});
}

}  // namespace snell::data
