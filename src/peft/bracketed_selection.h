// The usual road to a quantile: while a matrix is made, values are compared with a bracket that a sample of its entries
// gave, and the few within it are kept; the order statistic is then one of those. Exact: where the bracket turns out
// not to hold it (a sample may mislead, many values may be equal), there is no answer, and HostSelection finds it.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "snell/core/random.h"
#include "snell/peft/quantile.h"
#include "tiles.h"

namespace snell::peft {

template <class T>
class BracketedSelection {
 public:
  BracketedSelection(const TileFunctions<T>& functions, const TileFactors<T>& factors, int norm,
                     const QuantileRank& rank, int64_t entries)
      : functions_(functions), rank_(rank), entries_(entries), parts_(static_cast<size_t>(at::get_num_threads())) {
    bracket_ = sampled_bracket(factors, norm);
  }

  // Looks at some values; any thread of a parallel region, each value once, at most kTileColumns at a time.
  void sift(const T* values, int64_t count) {
    Part& part = parts_[static_cast<size_t>(at::get_thread_num())];
    const auto needed = static_cast<size_t>(part.sifted.num_found + count);
    if (needed > part.room.size()) {
      if (needed > static_cast<size_t>(most_found())) return void(overflow_ = true);
      part.room.resize(std::max(needed, 2 * part.room.size()));
      part.sifted.found = part.room.data();
    }
    functions_.sift(bracket_, values, count, part.sifted);
  }

  // Once every value has been looked at.
  std::optional<T> quantile() {
    if (overflow_) return std::nullopt;
    int64_t below = 0, not_numbers = 0;
    std::vector<T> found;
    for (const Part& part : parts_) {
      below += part.sifted.below;
      not_numbers += part.sifted.not_numbers;
      found.insert(found.end(), part.room.begin(), part.room.begin() + part.sifted.num_found);
    }
    if (not_numbers > 0) return std::numeric_limits<T>::quiet_NaN();
    const int64_t wanted = rank_.below - below, num_found = static_cast<int64_t>(found.size());
    const bool is_last = rank_.below + 1 == entries_;
    if (wanted < 0 || wanted + (is_last ? 0 : 1) >= num_found) return std::nullopt;
    const auto nth = found.begin() + wanted;
    std::nth_element(found.begin(), nth, found.end());
    if (is_last) return *nth;
    const T above = *std::min_element(nth + 1, found.end());
    return above == *nth ? above : interpolate(*nth, above, static_cast<T>(rank_.weight));
  }

 private:
  struct Part {  // of a thread, and on cache lines of its own
    alignas(64) Sifted<T> sifted;
    std::vector<T> room;
  };
  static constexpr int64_t kSamples = 4096;
  static constexpr double kDeviations = 4.5;

  int64_t most_found() const { return std::max<int64_t>(1 << 16, entries_ / 8); }

  // Around the same quantile of a sample, so wide that one in some hundred thousand misses. The whole line where the
  // matrix is small.
  Bracket<T> sampled_bracket(const TileFactors<T>& factors, int norm) const {
    constexpr T kInfinity = std::numeric_limits<T>::infinity();
    if (entries_ <= 8 * kSamples) return {T(0), kInfinity};
    std::vector<int32_t> in_rows(kSamples), out_rows(kSamples);
    for (int64_t e = 0; e < kSamples; e += 2) {
      const core::Philox4 draws = core::draw_block({.purpose = core::Purpose::kSample}, static_cast<uint32_t>(e / 2));
      for (int64_t pair = 0; pair < 2; ++pair) {
        const auto row_of = [&](int64_t draw, int64_t rows) {
          return static_cast<int32_t>(uint64_t{draws.v[2 * pair + draw]} * static_cast<uint64_t>(rows) >> 32);
        };
        in_rows[static_cast<size_t>(e + pair)] = row_of(0, factors.in_features);
        out_rows[static_cast<size_t>(e + pair)] = row_of(1, factors.out_features);
      }
    }
    std::vector<T> sample(kSamples);
    functions_.sample(factors, norm, in_rows.data(), out_rows.data(), sample.data(), kSamples);
    for (T& value : sample) {
      if (!(value <= kInfinity)) value = kInfinity;  // an order, whatever they are
    }
    std::sort(sample.begin(), sample.end());
    const double q = static_cast<double>(rank_.below) / static_cast<double>(entries_);
    const double reach = kDeviations * std::sqrt(q * (1 - q) * kSamples) + 2;
    const double low = q * kSamples - reach, high = q * kSamples + reach;
    return {low < 0 ? T(0) : sample[static_cast<size_t>(low)],
            high >= kSamples ? kInfinity : sample[static_cast<size_t>(high)]};
  }

  const TileFunctions<T>& functions_;
  QuantileRank rank_;
  int64_t entries_;
  Bracket<T> bracket_;
  std::vector<Part> parts_;
  std::atomic<bool> overflow_ = false;
};

}  // namespace snell::peft
