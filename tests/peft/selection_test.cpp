// Order statistics by radix: as the host and as a GPU count, against sorting.
#include <gtest/gtest.h>

#include "peft/select_cpu.h"
#include "snell/core/error.h"

namespace snell::peft {
namespace {

template <class T>
std::vector<std::pair<std::string, std::vector<T>>> distributions() {
  std::vector<std::pair<std::string, std::vector<T>>> out;
  const auto add = [&](const std::string& name, int64_t n, const auto& value) {
    std::vector<T> values;
    for (int64_t i = 0; i < n; ++i) values.push_back(static_cast<T>(value(i)));
    out.push_back({name, std::move(values)});
  };
  const auto noise = [](int64_t i) { return std::sin(static_cast<double>(i) * 12.9898) * 43758.5453; };
  const auto unit = [noise](int64_t i) { return noise(i) - std::floor(noise(i)) - 0.5; };
  add("one", 1, [](int64_t) { return -3.5; });
  add("two", 2, [](int64_t i) { return i == 0 ? 2.0 : -1.0; });
  add("uniform", 5000, unit);
  add("wide", 5000, [unit](int64_t i) { return std::pow(10.0, 60 * unit(i)) * (i % 2 == 0 ? 1 : -1); });
  add("equal", 777, [](int64_t) { return 0.25; });
  add("few values", 4001, [](int64_t i) { return static_cast<double>(i % 3) - 1; });
  add("zeros of both signs", 100, [](int64_t i) { return i % 2 == 0 ? 0.0 : -0.0; });
  add("denormals", 300, [](int64_t i) { return static_cast<double>(i) * 1e-44; });
  add("neighbours", 2000,
      [](int64_t i) { return 1.0 + static_cast<double>(i % 50) * std::numeric_limits<T>::epsilon(); });
  add("infinities", 64,
      [](int64_t i) { return i % 4 == 0 ? std::numeric_limits<double>::infinity() : 1.0 / (1.0 + i); });
  return out;
}

template <class T>
T by_sorting(std::vector<T> values, const QuantileRank& rank) {
  for (T& v : values) v = std::abs(v);
  std::sort(values.begin(), values.end());
  const auto at = static_cast<size_t>(rank.below);
  const T below = values[at], above = values[std::min(at + 1, values.size() - 1)];
  return below == above ? below : interpolate(below, above, static_cast<T>(rank.weight));
}

// What fused_cuda.cu does in its kernels, one value after the other.
template <class T>
T as_a_gpu_selects(const std::vector<T>& values, int64_t rank) {
  using Radix = RadixSelection<T, 11>;
  Radix radix;
  radix.remaining = rank;
  for (int round = 0; round < Radix::kRounds; ++round) {
    std::vector<unsigned> counts(Radix::kBins);
    for (const T v : values) {
      if (radix.has_prefix(magnitude_bits(v), round)) ++counts[Radix::digit(magnitude_bits(v), round)];
    }
    int64_t first = 0;  // whole groups of 32 first
    while (first + 32 < (int64_t{1} << Radix::width(round))) {
      int64_t group = 0;
      for (int64_t bin = first; bin < first + 32; ++bin) group += counts[static_cast<size_t>(bin)];
      if (radix.remaining < group) break;
      radix.remaining -= group;
      first += 32;
    }
    radix.advance(counts, round, first);
  }
  return from_magnitude_bits<T>(radix.prefix);
}

template <class T>
void check_selections() {
  for (const auto& [name, values] : distributions<T>()) {
    const auto n = static_cast<int64_t>(values.size());
    for (const double q : {0.0, 1e-6, 0.25, 0.5, 0.9, 0.995, 1.0}) {
      SCOPED_TRACE(core::str(name, " q ", q));
      const QuantileRank rank = quantile_rank(q, n, at::CppTypeToScalarType<T>::value);
      EXPECT_EQ(HostSelection<T>().quantile(values.data(), n, rank), by_sorting(values, rank));
      EXPECT_EQ(as_a_gpu_selects(values, rank.below), by_sorting(values, {rank.below, 0}));
    }
  }
}

TEST(Selection, OfFloats) {
  check_selections<float>();
}

TEST(Selection, OfDoubles) {
  check_selections<double>();
}

TEST(Selection, NanIsTheAnswer) {
  std::vector<float> values(1000, 1.0f);
  values[500] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(HostSelection<float>().quantile(values.data(), 1000, {500, 0})));
}

}  // namespace
}  // namespace snell::peft
