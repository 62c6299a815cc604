#include "strided_copy.h"

#include <cstring>
#include <vector>

namespace snell::io {

void copy_strided(std::span<const std::byte> from, std::span<const int64_t> shape, std::span<const int64_t> strides,
                  size_t item, std::span<std::byte> to) {
  std::vector<int64_t> at(shape.size(), 0);
  size_t source = 0;
  for (size_t target = 0; target < to.size(); target += item) {
    std::memcpy(to.data() + target, from.data() + source, item);
    for (size_t d = shape.size(); d-- > 0;) {
      const size_t stride = static_cast<size_t>(strides[d]) * item;
      source += stride;
      if (++at[d] < shape[d]) break;
      source -= stride * static_cast<size_t>(at[d]);
      at[d] = 0;
    }
  }
}

}  // namespace snell::io
