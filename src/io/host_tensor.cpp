#include "snell/io/host_tensor.h"

#include <limits>

#include "snell/core/error.h"

namespace snell::io {

int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kBool:
    case DType::kU8:
    case DType::kI8:
      return 1;
    case DType::kI16:
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kI32:
    case DType::kF32:
      return 4;
    case DType::kI64:
    case DType::kF64:
      return 8;
  }
  throw core::Error("a DType outside its enumeration");
}

const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return "BOOL";
    case DType::kU8:
      return "U8";
    case DType::kI8:
      return "I8";
    case DType::kI16:
      return "I16";
    case DType::kI32:
      return "I32";
    case DType::kI64:
      return "I64";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kF32:
      return "F32";
    case DType::kF64:
      return "F64";
  }
  throw core::Error("a DType outside its enumeration");
}

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

// A zero extent makes the product zero whatever the others are, as in numpy and safetensors.
std::optional<int64_t> element_count(std::span<const int64_t> shape) {
  bool empty = false;
  for (int64_t extent : shape) {
    if (extent < 0) return std::nullopt;
    empty = empty || extent == 0;
  }
  if (empty) return 0;
  int64_t count = 1;
  for (int64_t extent : shape) {
    if (__builtin_mul_overflow(count, extent, &count)) return std::nullopt;
  }
  return count;
}

std::optional<int64_t> byte_count(DType dtype, std::span<const int64_t> shape) {
  const std::optional<int64_t> count = element_count(shape);
  int64_t bytes = 0;
  if (!count || __builtin_mul_overflow(*count, size_of(dtype), &bytes)) return std::nullopt;
  return bytes;
}

int64_t HostTensor::numel() const {
  const std::optional<int64_t> count = element_count(shape);
  core::check(count.has_value(), core::str("the shape ", shape_text(), " has too many elements"));
  return *count;
}

std::string HostTensor::shape_text() const {
  return io::shape_text(shape);
}

}  // namespace snell::io
