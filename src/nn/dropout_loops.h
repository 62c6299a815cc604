// Dropout of one sample's elements, once an instruction set: the draws are core::draw_block's, eight blocks at a time.
#pragma once

#include <cstdint>

#include "snell/core/random.h"

namespace snell::nn {

// out[e] = x[e] · (kept or 0) for the sample's elements first … first + count − 1; `first` is a multiple of 4, and x
// and out point at that element.
template <class T>
using DropoutFunction = void (*)(const core::StreamKey& key, float p, T kept, const T* x, T* out, int64_t first,
                                 int64_t count);

struct DropoutFunctions {
  DropoutFunction<float> of_float;
  DropoutFunction<double> of_double;
};

namespace portable {
extern const DropoutFunctions kFunctions;
}
namespace avx2 {
extern const DropoutFunctions kFunctions;
}

}  // namespace snell::nn
