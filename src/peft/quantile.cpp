#include "snell/peft/quantile.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "snell/core/error.h"

namespace snell::peft {
namespace {

// The order statistics `below` and the one after it (the last has none after it: itself).
struct Neighbours {
  at::Tensor below, above;  // 0-d
};

template <class T>
Neighbours select_on_host(const at::Tensor& values, int64_t below) {
  std::vector<T> scratch(values.const_data_ptr<T>(), values.const_data_ptr<T>() + values.numel());
  const auto scalar = [&](T value) { return at::scalar_tensor(value, values.options()); };
  // nth_element needs an order, and NaN has none.
  if (std::any_of(scratch.begin(), scratch.end(), [](T v) { return std::isnan(v); })) {
    return {scalar(std::numeric_limits<T>::quiet_NaN()), scalar(std::numeric_limits<T>::quiet_NaN())};
  }
  const auto nth = scratch.begin() + below;
  std::nth_element(scratch.begin(), nth, scratch.end());
  return {scalar(*nth), scalar(nth + 1 == scratch.end() ? *nth : *std::min_element(nth + 1, scratch.end()))};
}

// What selecting on the host allocates (snell plan).
Neighbours select_nothing(const at::Tensor& flat) {
  const at::Tensor scratch = at::empty_like(flat);
  return {at::empty({}, flat.options()), at::empty({}, flat.options())};
}

Neighbours select_on_device(const at::Tensor& flat, int64_t below) {
  const at::Tensor nan = at::full({}, std::numeric_limits<double>::quiet_NaN(), flat.options());
  const at::Tensor has_nan = flat.isnan().any();
  const at::Tensor first = std::get<0>(flat.kthvalue(below + 1));
  const at::Tensor second = std::get<0>(flat.kthvalue(std::min(below + 2, flat.numel())));
  return {at::where(has_nan, nan, first), at::where(has_nan, nan, second)};
}

}  // namespace

QuantileRank quantile_rank(double q, int64_t n, at::ScalarType dtype) {
  core::check(q >= 0 && q <= 1 && n > 0, core::str("a quantile of ", n, " values at ", q));
  const bool own_type = dtype == at::kFloat && n <= (int64_t{1} << 24);
  const double rank = own_type ? static_cast<double>(static_cast<float>(q) * static_cast<float>(n - 1))
                               : q * static_cast<double>(n - 1);
  const auto below = std::min(static_cast<int64_t>(rank), n - 1);
  return {below, rank - static_cast<double>(below)};
}

at::Tensor matrix_quantile(const at::Tensor& values, double q) {
  const at::Tensor flat = values.detach().contiguous().view(-1);
  const QuantileRank rank = quantile_rank(q, flat.numel(), flat.scalar_type());
  const auto select = [&] {
    if (flat.is_meta()) return select_nothing(flat);
    if (!flat.is_cpu()) return select_on_device(flat, rank.below);
    return AT_DISPATCH_FLOATING_TYPES(flat.scalar_type(), "quantile",
                                      [&] { return select_on_host<scalar_t>(flat, rank.below); });
  };
  const Neighbours found = select();
  // A tensor weight, as torch.quantile has it: a number would be rounded elsewhere.
  return at::lerp(found.below, found.above, at::full({}, rank.weight, flat.options()));
}

}  // namespace snell::peft
