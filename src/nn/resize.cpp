#include "resize.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/upsample_bicubic2d.h>

#include <cmath>

namespace snell::nn {
namespace {

// The side of a square of n cells; 0 where n is none.
int64_t side_of(int64_t n) {
  const auto side = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(n))));
  return side * side == n ? side : 0;
}

// [S², D] -> [T², D], in float64: the file's type may be too narrow for the sums.
at::Tensor resize_grid(const at::Tensor& grid_SD, int64_t from_side, int64_t to_side) {
  const int64_t features = grid_SD.size(1);
  const at::Tensor image = grid_SD.to(at::kDouble).reshape({1, from_side, from_side, features}).permute({0, 3, 1, 2});
  const at::Tensor resized = at::upsample_bicubic2d(image, {to_side, to_side}, /*align_corners=*/false);
  return resized.permute({0, 2, 3, 1}).reshape({to_side * to_side, features}).to(grid_SD.scalar_type());
}

}  // namespace

at::Tensor resize_position_embedding(const at::Tensor& from, int64_t tokens, int64_t prefix) {
  if (from.dim() != 3 || from.size(0) != 1 || from.size(1) <= prefix) return from;
  const int64_t from_side = side_of(from.size(1) - prefix), to_side = side_of(tokens - prefix);
  if (from_side == 0 || to_side == 0) return from;
  const at::Tensor grid = resize_grid(from[0].slice(0, prefix), from_side, to_side);
  return at::cat({from[0].slice(0, 0, prefix), grid}, 0).unsqueeze(0);
}

at::Tensor resize_bias_table(const at::Tensor& from, int64_t rows) {
  if (from.dim() != 2) return from;
  const int64_t from_side = side_of(from.size(0)), to_side = side_of(rows);
  return from_side == 0 || to_side == 0 ? from : resize_grid(from, from_side, to_side);
}

}  // namespace snell::nn
