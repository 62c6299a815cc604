// Windows of a feature map and their cyclic shift (Liu et al., Swin Transformer, arXiv 2103.14030).
// Legend: B batch, H W map, C features, V windows of a map in row-major order, S side of a window, N = S² tokens.
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace snell::nn {

// How a map is cut. A map that is no multiple of `side` gets zeros below and at its right.
struct Windows {
  int64_t height = 0, width = 0;  // of the map
  int64_t side = 0;
  int64_t shift = 0;  // rows and columns by which the map is rolled up and left before it is cut; less than `side`
  int64_t rows() const { return (height + side - 1) / side; }
  int64_t columns() const { return (width + side - 1) / side; }
};

// [B, H, W, C] -> [B, V, N, C].
at::Tensor to_windows(const at::Tensor& x_BHWC, const Windows& windows);
// The inverse: [B, V, N, C] -> [B, H, W, C], without the zeros that were added.
at::Tensor from_windows(const at::Tensor& x_BVNC, const Windows& windows);

// What attention adds to its scores in a shifted map, [V, N, N]: -100 between tokens that were not neighbours before
// the shift, else 0 (as in the published code; not -inf). Undefined where nothing is shifted.
at::Tensor shift_mask(const Windows& windows, const at::TensorOptions& options);

// Row of the table of relative position biases for each pair of a window's tokens, [N · N] int64: the table's rows
// stand for the differences of row and column, each from -(S - 1) to S - 1.
at::Tensor relative_position_index(int64_t side, at::Device device);

}  // namespace snell::nn
