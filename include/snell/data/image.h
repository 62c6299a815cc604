// A decoded picture.
#pragma once

#include <cstdint>
#include <memory>

namespace snell::data {

// Budgets for a picture that comes from a file, checked before any memory is asked for.
inline constexpr int64_t kMaxImageSide = 65536;
inline constexpr int64_t kMaxImagePixels = int64_t{256} << 20;

// uint8 RGB, [height, width, 3] without padding. Move-only; a new one's pixels are uninitialised.
class Image {
 public:
  Image() = default;
  Image(int64_t height, int64_t width)
      : height_(height),
        width_(width),
        pixels_(std::make_unique_for_overwrite<uint8_t[]>(static_cast<size_t>(height * width * 3))) {}

  int64_t height() const { return height_; }
  int64_t width() const { return width_; }
  int64_t num_bytes() const { return height_ * width_ * 3; }
  uint8_t* row(int64_t y) { return pixels_.get() + y * width_ * 3; }
  const uint8_t* row(int64_t y) const { return pixels_.get() + y * width_ * 3; }
  uint8_t* data() { return pixels_.get(); }
  const uint8_t* data() const { return pixels_.get(); }

 private:
  int64_t height_ = 0;
  int64_t width_ = 0;
  std::unique_ptr<uint8_t[]> pixels_;
};

}  // namespace snell::data
