#include "snell/ckpt/tensors.h"

#include <ATen/Functions.h>

#include <cstring>

#include "snell/core/error.h"

namespace snell::ckpt {

io::DType file_dtype(at::ScalarType type) {
  switch (type) {
    case at::kBool:
      return io::DType::kBool;
    case at::kByte:
      return io::DType::kU8;
    case at::kChar:
      return io::DType::kI8;
    case at::kShort:
      return io::DType::kI16;
    case at::kInt:
      return io::DType::kI32;
    case at::kLong:
      return io::DType::kI64;
    case at::kHalf:
      return io::DType::kF16;
    case at::kBFloat16:
      return io::DType::kBF16;
    case at::kFloat:
      return io::DType::kF32;
    case at::kDouble:
      return io::DType::kF64;
    default:
      throw core::Error(core::str("a tensor of type ", c10::toString(type), " cannot be saved"));
  }
}

at::ScalarType scalar_type(io::DType dtype) {
  switch (dtype) {
    case io::DType::kBool:
      return at::kBool;
    case io::DType::kU8:
      return at::kByte;
    case io::DType::kI8:
      return at::kChar;
    case io::DType::kI16:
      return at::kShort;
    case io::DType::kI32:
      return at::kInt;
    case io::DType::kI64:
      return at::kLong;
    case io::DType::kF16:
      return at::kHalf;
    case io::DType::kBF16:
      return at::kBFloat16;
    case io::DType::kF32:
      return at::kFloat;
    case io::DType::kF64:
      return at::kDouble;
  }
  throw core::WeightsError(core::str("the tensor type ", io::name_of(dtype), " is not supported"));
}

io::HostTensor host_tensor(const at::Tensor& tensor) {
  auto owner = std::make_shared<at::Tensor>(tensor.detach().cpu().contiguous());
  io::HostTensor host;
  host.dtype = file_dtype(owner->scalar_type());
  host.shape.assign(owner->sizes().begin(), owner->sizes().end());
  host.bytes = {static_cast<const std::byte*>(owner->const_data_ptr()), owner->nbytes()};
  host.keep_alive = owner;
  return host;
}

at::Tensor tensor_copy(const io::HostTensor& host) {
  at::Tensor tensor = at::empty(host.shape, at::TensorOptions().dtype(scalar_type(host.dtype)));
  core::check(tensor.nbytes() == host.bytes.size(), "a file's tensor has another number of bytes than its shape says");
  if (!host.bytes.empty()) std::memcpy(tensor.mutable_data_ptr(), host.bytes.data(), host.bytes.size());
  return tensor;
}

}  // namespace snell::ckpt
