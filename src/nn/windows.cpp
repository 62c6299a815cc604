#include "snell/nn/windows.h"

namespace snell::nn {
namespace {

constexpr double kSeparate = -100;  // e^-100 of a neighbour's weight

}  // namespace

at::Tensor to_windows(const at::Tensor& x_BHWC, const Windows& w) {
  at::Tensor x = w.shift > 0 ? at::roll(x_BHWC, {-w.shift, -w.shift}, {1, 2}) : x_BHWC;
  const int64_t pad_bottom = w.rows() * w.side - w.height, pad_right = w.columns() * w.side - w.width;
  if (pad_bottom > 0 || pad_right > 0) x = at::constant_pad_nd(x, {0, 0, 0, pad_right, 0, pad_bottom});
  const int64_t batch = x.size(0), features = x.size(3);
  return x.reshape({batch, w.rows(), w.side, w.columns(), w.side, features})
      .permute({0, 1, 3, 2, 4, 5})
      .reshape({batch, w.rows() * w.columns(), w.side * w.side, features});
}

at::Tensor from_windows(const at::Tensor& x_BVNC, const Windows& w) {
  const int64_t batch = x_BVNC.size(0), features = x_BVNC.size(3);
  const at::Tensor x = x_BVNC.reshape({batch, w.rows(), w.columns(), w.side, w.side, features})
                           .permute({0, 1, 3, 2, 4, 5})
                           .reshape({batch, w.rows() * w.side, w.columns() * w.side, features})
                           .slice(1, 0, w.height)
                           .slice(2, 0, w.width);
  return w.shift > 0 ? at::roll(x, {w.shift, w.shift}, {1, 2}) : x;
}

at::Tensor shift_mask(const Windows& w, const at::TensorOptions& options) {
  if (w.shift == 0) return {};
  const int64_t height = w.rows() * w.side, width = w.columns() * w.side;
  // The rolled map's last rows and columns came from the other end.
  const at::Tensor row_H1 = at::arange(height, at::kLong).ge(height - w.shift).unsqueeze(1);
  const at::Tensor column_W = at::arange(width, at::kLong).ge(width - w.shift);
  const at::Tensor origin_HW = row_H1.to(at::kLong) * 2 + column_W.to(at::kLong);
  const at::Tensor origin_VN =
      to_windows(origin_HW.view({1, height, width, 1}), {height, width, w.side, 0})[0].flatten(1);
  const at::Tensor differ_VNN = origin_VN.unsqueeze(1).ne(origin_VN.unsqueeze(2));
  return at::zeros(differ_VNN.sizes(), at::kDouble).masked_fill_(differ_VNN, kSeparate).to(options);
}

at::Tensor relative_position_index(int64_t side, at::Device device) {
  const at::Tensor token = at::arange(side * side, at::kLong);
  const auto difference = [&](const at::Tensor& line) { return line.unsqueeze(1) - line.unsqueeze(0) + (side - 1); };
  const at::Tensor row = at::div(token, side, "floor"), column = at::remainder(token, side);
  return (difference(row) * (2 * side - 1) + difference(column)).flatten().to(device);
}

}  // namespace snell::nn
