// The JSON header of a safetensors file, checked.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "snell/io/host_tensor.h"

namespace snell::io {

inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;  // the reference implementation's limit

struct TensorEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // within the data that follow the header
};

struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;  // in the order of their bytes
  std::map<std::string, std::string> metadata;
};

// Returns "" when the header is sound and the tensors fill `data_size` bytes without holes or overlaps, else what is
// wrong.
std::string parse_safetensors_header(std::string_view text, uint64_t data_size, SafetensorsHeader& header);

}  // namespace snell::io
