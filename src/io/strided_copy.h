// From any memory order to row-major.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace snell::io {

// Element (i0, i1, …) lies in `from` at (i0·strides[0] + i1·strides[1] + …) · item bytes; whoever calls has checked
// that all of them lie inside. `to` has exactly the shape's bytes.
void copy_strided(std::span<const std::byte> from, std::span<const int64_t> shape, std::span<const int64_t> strides,
                  size_t item, std::span<std::byte> to);

}  // namespace snell::io
