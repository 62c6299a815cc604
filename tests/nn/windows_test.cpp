#include "snell/nn/windows.h"

#include <gtest/gtest.h>

namespace snell::nn {
namespace {

// A map that the window divides, and two that are padded; shifted and not.
const std::vector<Windows> kCases{{8, 8, 4, 0}, {8, 8, 4, 2}, {7, 10, 3, 1}, {5, 5, 4, 2}, {4, 4, 4, 0}};

// Where token `t` of window `v` lies in the map before the shift; outside it where the token is padding.
std::pair<int64_t, int64_t> place(const Windows& w, int64_t v, int64_t t) {
  const int64_t y = v / w.columns() * w.side + t / w.side, x = v % w.columns() * w.side + t % w.side;
  if (y >= w.height || x >= w.width) return {y, x};
  return {(y + w.shift) % w.height, (x + w.shift) % w.width};
}

TEST(Windows, HoldTheTokensOfTheShiftedMapAndZeros) {
  for (const Windows& w : kCases) {
    SCOPED_TRACE(testing::Message() << w.height << "x" << w.width << " side " << w.side << " shift " << w.shift);
    const at::Tensor map = at::rand({2, w.height, w.width, 3}, at::kDouble);
    const at::Tensor windows = to_windows(map, w);
    ASSERT_EQ(windows.sizes(), at::IntArrayRef({2, w.rows() * w.columns(), w.side * w.side, 3}));
    at::Tensor expected = at::zeros_like(windows);
    for (int64_t v = 0; v < windows.size(1); ++v) {
      for (int64_t t = 0; t < windows.size(2); ++t) {
        const int64_t y = v / w.columns() * w.side + t / w.side, x = v % w.columns() * w.side + t % w.side;
        if (y >= w.height || x >= w.width) continue;
        const auto [from_y, from_x] = place(w, v, t);
        expected.select(1, v).select(1, t).copy_(map.select(1, from_y).select(1, from_x));
      }
    }
    EXPECT_TRUE(at::equal(windows, expected));
    EXPECT_TRUE(at::equal(from_windows(windows, w), map));
  }
}

// Attention across the seam: two tokens see one another where the shift brought no border of the map between them. The
// published code rolls the map and pads it afterwards, and draws the borders in the padded map.
TEST(Windows, TheMaskSeparatesWhatTheShiftBroughtTogether) {
  for (const Windows& w : kCases) {
    SCOPED_TRACE(testing::Message() << w.height << "x" << w.width << " side " << w.side << " shift " << w.shift);
    const at::Tensor mask = shift_mask(w, at::kDouble);
    if (w.shift == 0) {
      EXPECT_FALSE(mask.defined());
      continue;
    }
    const int64_t height = w.rows() * w.side, width = w.columns() * w.side;
    at::Tensor expected = at::zeros({w.rows() * w.columns(), w.side * w.side, w.side * w.side}, at::kDouble);
    const auto wrapped = [&](int64_t v, int64_t t) {
      const int64_t y = v / w.columns() * w.side + t / w.side, x = v % w.columns() * w.side + t % w.side;
      return std::pair{y >= height - w.shift, x >= width - w.shift};
    };
    for (int64_t v = 0; v < expected.size(0); ++v) {
      for (int64_t a = 0; a < expected.size(1); ++a) {
        for (int64_t b = 0; b < expected.size(1); ++b) {
          if (wrapped(v, a) != wrapped(v, b))
            expected.index_put_({at::tensor(v), at::tensor(a), at::tensor(b)}, at::full({}, -100.0, at::kDouble));
        }
      }
    }
    EXPECT_TRUE(at::equal(mask, expected));
  }
}

TEST(Windows, ABiasForEachDifferenceOfPlaces) {
  for (const int64_t side : {1, 2, 3, 7}) {
    const at::Tensor index = relative_position_index(side, at::kCPU);
    const int64_t tokens = side * side, differences = 2 * side - 1;
    ASSERT_EQ(index.numel(), tokens * tokens);
    EXPECT_EQ(std::get<0>(at::_unique(index)).numel(), differences * differences);
    for (int64_t a = 0; a < tokens; ++a) {
      for (int64_t b = 0; b < tokens; ++b) {
        const int64_t row = a / side - b / side + side - 1, column = a % side - b % side + side - 1;
        EXPECT_EQ(index[a * tokens + b].item<int64_t>(), row * differences + column);
      }
    }
  }
}

}  // namespace
}  // namespace snell::nn
