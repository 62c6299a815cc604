// What one entry of a merged matrix is made of: the element-wise mathematics that the CPU's and CUDA's fused kernels
// share (SNELL, arXiv 2411.01800, Eq. 3-5). Plain functions of plain values.
#pragma once

#include <math.h>
#include <string.h>

#include <cstdint>

#include "snell/core/host_device.h"

namespace snell::peft {

// c_h of K = Σ_h c_h·distance_h. The published code keeps 0.1 as a float32, whatever the type of the factors.
template <class T>
SNELL_HOST_DEVICE_INLINE constexpr T kernel_coefficient(int64_t head) {
  return static_cast<T>(head % 2 == 0 ? 0.1f : -0.1f);
}

// What stays of a merged matrix K: ΔW = K · scale(K), where the scale is a constant to the gradient.
enum class KeepRule : int32_t {
  kAll,            // 1: KLoRA
  kHardThreshold,  // |K| where |K| > threshold, else 0: the published code's SNELL
  kSoftThreshold,  // max(|K| − threshold, 0): the paper's Eq. 5
};

// Not std::abs: its overloads are host code.
template <class T>
SNELL_HOST_DEVICE_INLINE T magnitude(T k) {
  return k < T(0) ? -k : k;
}

// The scale of an entry. A product, not a selection: NaN stays NaN, so that a broken matrix is seen in the loss.
template <KeepRule kRule, class T>
SNELL_HOST_DEVICE_INLINE T keep_scale(T k, T threshold) {
  if constexpr (kRule == KeepRule::kAll) return T(1);
  const T size = magnitude(k);
  if constexpr (kRule == KeepRule::kHardThreshold) return size * (size > threshold ? T(1) : T(0));
  const T over = size - threshold;
  return over < T(0) ? T(0) : over;
}

// One column's part of the sum behind a distance: (a − b)² or |a − b|.
template <int kNorm, class T>
SNELL_HOST_DEVICE_INLINE T distance_term(T difference) {
  static_assert(kNorm == 1 || kNorm == 2, "other norms take the ATen road");
  return kNorm == 2 ? difference * difference : magnitude(difference);
}

SNELL_HOST_DEVICE_INLINE float square_root(float x) {
  return sqrtf(x);
}
SNELL_HOST_DEVICE_INLINE double square_root(double x) {
  return sqrt(x);
}

template <int kNorm, class T>
SNELL_HOST_DEVICE_INLINE T distance_of_sum(T sum) {
  if constexpr (kNorm == 2) return square_root(sum);
  return sum;
}

// c_h·dL/dK over what the derivative of a distance is divided by; 0 where the distance is 0. The gradient of column r
// is this times slope(in[r] − out[r]).
template <int kNorm, class T>
SNELL_HOST_DEVICE_INLINE T distance_ratio(T grad, T distance) {
  if constexpr (kNorm == 1) return grad;
  return distance == T(0) ? T(0) : grad / distance;
}

template <int kNorm, class T>
SNELL_HOST_DEVICE_INLINE T slope(T difference) {
  if constexpr (kNorm == 2) return difference;
  return T(difference > T(0)) - T(difference < T(0));
}

// --- order statistics of magnitudes by radix ----------------------------------------------------------------------
// A magnitude's bits, read as an integer, are in the order of the magnitudes, NaN above infinity.

template <class T>
struct MagnitudeBits;
template <>
struct MagnitudeBits<float> {
  using Word = uint32_t;
  static constexpr int kBits = 31;
  static constexpr Word kInfinity = 0x7F800000u;
};
template <>
struct MagnitudeBits<double> {
  using Word = uint64_t;
  static constexpr int kBits = 63;
  static constexpr Word kInfinity = 0x7FF0000000000000u;
};

template <class T>
SNELL_HOST_DEVICE_INLINE typename MagnitudeBits<T>::Word magnitude_bits(T value) {
  typename MagnitudeBits<T>::Word bits;
  memcpy(&bits, &value, sizeof bits);
  return bits & ((typename MagnitudeBits<T>::Word(1) << MagnitudeBits<T>::kBits) - 1);
}

template <class T>
SNELL_HOST_DEVICE_INLINE T from_magnitude_bits(typename MagnitudeBits<T>::Word bits) {
  T value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// A selection under way: the digits found so far, from the top, and the rank among the values that have them. Digits
// have at most kDigitBits bits; a host that has tables of 2^16 counters takes two rounds for a float, a GPU whose
// counters must fit into shared memory three of eleven.
template <class T, int kDigitBits>
struct RadixSelection {
  using Word = typename MagnitudeBits<T>::Word;
  static constexpr int kRounds = (MagnitudeBits<T>::kBits + kDigitBits - 1) / kDigitBits;
  static constexpr int kBins = 1 << kDigitBits;

  Word prefix = 0;        // the digits found, in their place
  int64_t remaining = 0;  // rank among the values that share them
  int64_t equal = 0;      // how many share them

  // Bits below the digit of this round.
  SNELL_HOST_DEVICE_INLINE static constexpr int shift(int round) {
    const int below = MagnitudeBits<T>::kBits - (round + 1) * kDigitBits;
    return below > 0 ? below : 0;
  }
  SNELL_HOST_DEVICE_INLINE static constexpr int width(int round) {
    const int above = MagnitudeBits<T>::kBits - round * kDigitBits;
    return above < kDigitBits ? above : kDigitBits;
  }
  SNELL_HOST_DEVICE_INLINE static constexpr uint32_t digit(Word bits, int round) {
    return static_cast<uint32_t>(bits >> shift(round)) & ((1u << width(round)) - 1u);
  }
  // Whether a value still takes part in this round: it has the digits found so far.
  SNELL_HOST_DEVICE_INLINE bool has_prefix(Word bits, int round) const {
    return round == 0 || (bits ^ prefix) >> (shift(round) + width(round)) == 0;
  }
  // Takes the digit of this round from the counts of its values. `first_bin`: where to begin, when `remaining` has been
  // lowered by the counts below it.
  template <class Counts>
  SNELL_HOST_DEVICE_INLINE void advance(const Counts& counts, int round, int64_t first_bin = 0) {
    const int64_t bins = int64_t{1} << width(round);
    int64_t bin = first_bin;
    while (bin + 1 < bins && remaining >= static_cast<int64_t>(counts[bin])) remaining -= counts[bin++];
    equal = static_cast<int64_t>(counts[bin]);
    prefix |= static_cast<Word>(bin) << shift(round);
  }
};

// below + weight·(above − below), rounded as torch.lerp does it. Equal neighbours (two infinities, too) are that value.
template <class T>
SNELL_HOST_DEVICE_INLINE T interpolate(T below, T above, T weight) {
  const T step = above - below;
  return weight < T(0.5) ? below + weight * step : above - step * (T(1) - weight);
}

}  // namespace snell::peft
