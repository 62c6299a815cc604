// A tensor as the file formats see it: plain bytes with a type and a shape, no LibTorch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace snell::io {

enum class DType : uint8_t { kBool, kU8, kI8, kI16, kI32, kI64, kF16, kBF16, kF32, kF64 };

int64_t size_of(DType dtype);
const char* name_of(DType dtype);  // safetensors' names: "F32", "BF16", "I64"

// "[2, 3]"
std::string shape_text(std::span<const int64_t> shape);

// Elements and bytes of a shape; nothing when an extent is negative or the product does not fit an int64_t.
std::optional<int64_t> element_count(std::span<const int64_t> shape);
std::optional<int64_t> byte_count(DType dtype, std::span<const int64_t> shape);

// Row-major and contiguous. `bytes` may view a mapped file; `keep_alive` owns whatever it views.
struct HostTensor {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> keep_alive;

  int64_t numel() const;           // throws core::Error for a shape that overflows
  std::string shape_text() const;  // "[2, 3]"
};

}  // namespace snell::io
