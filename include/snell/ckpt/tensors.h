// Between LibTorch's tensors and the plain bytes of the file formats.
#pragma once

#include <ATen/core/Tensor.h>

#include "snell/io/host_tensor.h"

namespace snell::ckpt {

// Contiguous bytes on the CPU; shares the tensor's storage when it is that already, and keeps it alive.
io::HostTensor host_tensor(const at::Tensor& tensor);

// Throws Error for a type that the file formats lack (complex, quantised).
io::DType file_dtype(at::ScalarType type);

// The type of a file's tensor. Throws WeightsError for one that LibTorch lacks.
at::ScalarType scalar_type(io::DType dtype);

// An own copy.
at::Tensor tensor_copy(const io::HostTensor& host);

}  // namespace snell::ckpt
