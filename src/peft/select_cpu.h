// Order statistics of magnitudes on the host by histograms of their digits, a table a thread: in O(n) whatever the
// values, and without a second buffer of their size.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "snell/peft/kernel_math.h"
#include "snell/peft/quantile.h"

namespace snell::peft {

template <class T>
class HostSelection {
 public:
  using Radix = RadixSelection<T, 16>;
  using Word = typename MagnitudeBits<T>::Word;

  HostSelection() : counts_(static_cast<size_t>(at::get_num_threads()) * Radix::kBins) {}

  // The quantile of the magnitudes of n values. NaN when one is NaN: as arithmetic makes them, with the quiet bit.
  T quantile(const T* values, int64_t n, const QuantileRank& rank) {
    at::parallel_for(0, n, 1 << 15, [&](int64_t first, int64_t last) {
      uint32_t* counts = own_counts();
      for (int64_t i = first; i < last; ++i) ++counts[Radix::digit(magnitude_bits(values[i]), 0)];
    });
    radix_.remaining = rank.below;
    std::vector<int64_t> totals = take_totals();
    constexpr Word kInfinity = MagnitudeBits<T>::kInfinity;
    constexpr Word kQuietNaN = kInfinity | ((kInfinity >> 1) & ~kInfinity);
    const auto first_nan = totals.begin() + Radix::digit(kQuietNaN, 0);
    if (std::any_of(first_nan, totals.end(), [](int64_t count) { return count > 0; })) {
      return std::numeric_limits<T>::quiet_NaN();
    }
    radix_.advance(totals, 0);
    Word above = std::numeric_limits<Word>::max();
    for (int round = 1; round < Radix::kRounds; ++round) {
      above = count_round(values, n, round);
      totals = take_totals();
      radix_.advance(totals, round);
    }
    const T below_value = from_magnitude_bits<T>(radix_.prefix);
    if (radix_.remaining + 1 < radix_.equal || rank.below + 1 >= n) return below_value;
    // The next value: with the same digits but the last, or the least of those beyond.
    for (int64_t bin = Radix::digit(radix_.prefix, Radix::kRounds - 1) + 1; bin < Radix::kBins; ++bin) {
      if (totals[static_cast<size_t>(bin)] == 0) continue;
      above = (radix_.prefix & ~static_cast<Word>((Word{1} << Radix::width(Radix::kRounds - 1)) - 1)) |
              static_cast<Word>(bin);
      break;
    }
    return interpolate(below_value, from_magnitude_bits<T>(above), static_cast<T>(rank.weight));
  }

 private:
  static constexpr int64_t kGroup = 64;

  uint32_t* own_counts() { return counts_.data() + static_cast<size_t>(at::get_thread_num()) * Radix::kBins; }

  // Counts the digit of those that have the prefix; returns the least value beyond them. Few values have it, so groups
  // without one are passed over by vector operations.
  Word count_round(const T* values, int64_t n, int round) {
    std::vector<Word> least(static_cast<size_t>(at::get_num_threads()), std::numeric_limits<Word>::max());
    const int above_digit = Radix::shift(round) + Radix::width(round);
    const Word prefix = radix_.prefix >> above_digit;
    at::parallel_for(0, (n + kGroup - 1) / kGroup, 512, [&](int64_t first, int64_t last) {
      uint32_t* counts = own_counts();
      Word own_least = std::numeric_limits<Word>::max();
      for (int64_t group = first; group < last; ++group) {
        const T* from = values + group * kGroup;
        const int64_t size = std::min(kGroup, n - group * kGroup);
        Word any = 0;
        for (int64_t i = 0; i < size; ++i) {
          const Word bits = magnitude_bits(from[i]);
          any |= static_cast<Word>((bits >> above_digit) == prefix);
          own_least = std::min(own_least, (bits >> above_digit) > prefix ? bits : std::numeric_limits<Word>::max());
        }
        if (any == 0) continue;
        for (int64_t i = 0; i < size; ++i) {
          const Word bits = magnitude_bits(from[i]);
          if ((bits >> above_digit) == prefix) ++counts[Radix::digit(bits, round)];
        }
      }
      Word& mine = least[static_cast<size_t>(at::get_thread_num())];
      mine = std::min(mine, own_least);
    });
    return *std::min_element(least.begin(), least.end());
  }

  // Sums over the threads, and zeroes for the next round.
  std::vector<int64_t> take_totals() {
    std::vector<int64_t> totals(Radix::kBins, 0);
    for (size_t at = 0; at < counts_.size(); ++at) totals[at % Radix::kBins] += counts_[at];
    std::fill(counts_.begin(), counts_.end(), 0u);
    return totals;
  }

  Radix radix_;
  std::vector<uint32_t> counts_;
};

}  // namespace snell::peft
