// Counter-based random numbers: a draw is a function of what it is for, never of how many draws came before it. So any
// number of ranks, workers or restarts sees the same values, and a backward pass draws a mask again instead of keeping
// it.
//
// Generator: Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011).
#pragma once

#include <cstdint>

#include "snell/core/host_device.h"

namespace snell::core {

struct Philox4 {
  uint32_t v[4];
};

// Ten rounds of Philox4x32 on a 128-bit counter with a 64-bit key; equal to Random123's philox4x32.
SNELL_HOST_DEVICE_INLINE Philox4 philox4x32(Philox4 counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(0xD2511F53u) * counter.v[0];
    const uint64_t product1 = static_cast<uint64_t>(0xCD9E8D57u) * counter.v[2];
    counter = {{static_cast<uint32_t>(product1 >> 32) ^ counter.v[1] ^ key0, static_cast<uint32_t>(product1),
                static_cast<uint32_t>(product0 >> 32) ^ counter.v[3] ^ key1, static_cast<uint32_t>(product0)}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// What a draw is for. The numbers are part of what makes a run reproducible: never renumber, only append.
enum class Purpose : uint32_t {
  kInit = 1,
  kShuffle = 2,
  kAugment = 3,
  kDropout = 4,
  kDropPath = 5,
  kAdapterDropout = 6,
  kAdapterDropPath = 7,
  kSample = 8,  // of entries of a matrix, to guess at its quantile
  kTest = 255,
};

// The key of a stream of draws. `time` is the step (or the epoch, for shuffling and augmentation), `slot` the sample's
// slot in the epoch's order (or 0), `layer` the layer's or tensor's number (24 bits).
struct StreamKey {
  uint64_t seed = 0;
  Purpose purpose = Purpose::kTest;
  uint32_t time = 0;
  uint32_t slot = 0;
  uint32_t layer = 0;
};

// Draws 4·block … 4·block+3 of a stream.
SNELL_HOST_DEVICE_INLINE Philox4 draw_block(const StreamKey& key, uint32_t block) {
  const uint32_t purpose_and_layer = (static_cast<uint32_t>(key.purpose) << 24) | (key.layer & 0x00FFFFFFu);
  return philox4x32({{block, key.slot, key.time, purpose_and_layer}}, static_cast<uint32_t>(key.seed),
                    static_cast<uint32_t>(key.seed >> 32));
}

// Draw `index` of a stream, as 32 uniform bits.
SNELL_HOST_DEVICE_INLINE uint32_t draw_bits(const StreamKey& key, uint32_t index) {
  return draw_block(key, index / 4).v[index % 4];
}

// Uniform in [0, 1) with 24 bits, exact in float32.
SNELL_HOST_DEVICE_INLINE float to_unit_float(uint32_t bits) {
  return static_cast<float>(bits >> 8) * 0x1.0p-24f;
}

// Uniform in [0, 1) with 53 bits.
SNELL_HOST_DEVICE_INLINE double to_unit_double(uint32_t high, uint32_t low) {
  return static_cast<double>((static_cast<uint64_t>(high) << 32 | low) >> 11) * 0x1.0p-53;
}

// A stream read in order: for host code that wants "the next" value (shuffles, crops). Copyable; holds no shared state.
class RandomStream {
 public:
  explicit RandomStream(const StreamKey& key) : key_(key) {}

  uint32_t next_bits() { return draw_bits(key_, index_++); }
  double next_double() {
    const uint32_t high = next_bits();
    return to_unit_double(high, next_bits());
  }
  double uniform(double low, double high) { return low + (high - low) * next_double(); }
  // Uniform in [0, bound) without bias (Lemire's rejection); bound > 0.
  uint32_t below(uint32_t bound) {
    uint64_t product = static_cast<uint64_t>(next_bits()) * bound;
    if (static_cast<uint32_t>(product) < bound) {
      const uint32_t floor = (0u - bound) % bound;
      while (static_cast<uint32_t>(product) < floor) product = static_cast<uint64_t>(next_bits()) * bound;
    }
    return static_cast<uint32_t>(product >> 32);
  }

 private:
  StreamKey key_;
  uint32_t index_ = 0;
};

}  // namespace snell::core
