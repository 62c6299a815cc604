#include "snell/peft/quantile.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "snell/core/error.h"

namespace snell::peft {
namespace {

// torch's lerp: the formula that is exact at both ends.
template <class T>
T lerp(T a, T b, T weight) {
  return weight < T(0.5) ? a + weight * (b - a) : b - (b - a) * (T(1) - weight);
}

template <class T>
T select_on_host(const at::Tensor& values, const QuantileRank& rank) {
  std::vector<T> scratch(values.const_data_ptr<T>(), values.const_data_ptr<T>() + values.numel());
  // nth_element needs an order, and NaN has none.
  if (std::any_of(scratch.begin(), scratch.end(), [](T v) { return std::isnan(v); })) {
    return std::numeric_limits<T>::quiet_NaN();
  }
  const auto nth = scratch.begin() + rank.below;
  std::nth_element(scratch.begin(), nth, scratch.end());
  if (rank.weight == 0 || nth + 1 == scratch.end()) return *nth;
  return lerp(*nth, *std::min_element(nth + 1, scratch.end()), static_cast<T>(rank.weight));
}

at::Tensor select_on_device(const at::Tensor& flat, const QuantileRank& rank) {
  const at::Tensor below = std::get<0>(flat.kthvalue(rank.below + 1));
  const at::Tensor above = std::get<0>(flat.kthvalue(std::min(rank.below + 2, flat.numel())));
  const at::Tensor selected = at::lerp(below, above, rank.weight);
  return at::where(flat.isnan().any(), at::full_like(selected, std::numeric_limits<double>::quiet_NaN()), selected);
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

at::Tensor quantile(const at::Tensor& values, double q) {
  const at::Tensor flat = values.detach().contiguous().view(-1);
  const QuantileRank rank = quantile_rank(q, flat.numel(), flat.scalar_type());
  if (!flat.is_cpu()) return select_on_device(flat, rank);
  return AT_DISPATCH_FLOATING_TYPES(flat.scalar_type(), "quantile", [&] {
    return at::scalar_tensor(select_on_host<scalar_t>(flat, rank), flat.options());
  });
}

}  // namespace snell::peft
