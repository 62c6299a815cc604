// How much memory reading a file may take: 4 × its size + 64 MB in all. The mapping takes the size once, what is kept
// of the headers and the pickle (bounded by counts in their readers) most of the 64 MB; the rest is for one tensor.
#pragma once

#include <cstdint>

namespace snell::io {

constexpr uint64_t read_budget(uint64_t file_size) {
  return 2 * file_size + (24u << 20);
}

}  // namespace snell::io
