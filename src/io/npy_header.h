// The header of a .npy array (numpy/lib/format.py, versions 1, 2 and 3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "snell/io/host_tensor.h"

namespace snell::io {

inline constexpr size_t kMaxNpyHeader = 65536;

struct NpyHeader {
  DType dtype = DType::kF32;
  bool readable = true;  // false: plain, but of a type that DType has not (unsigned of several bytes, text, …)
  bool fortran_order = false;
  std::vector<int64_t> shape;
  size_t data_begin = 0;  // the header's own length
};

// `head`: the first bytes of the array, kMaxNpyHeader of them or all. Returns "" or what is wrong.
std::string parse_npy_header(std::span<const std::byte> head, NpyHeader& header);

}  // namespace snell::io
