// One function a weight-file format; open_tensors() chooses among them by content.
#pragma once

#include <memory>
#include <string>

#include "snell/io/tensor_source.h"

namespace snell::io {

std::unique_ptr<TensorSource> open_safetensors(const std::string& path);
std::unique_ptr<TensorSource> open_npz(const std::string& path);

// A byte of a BOOL tensor other than 0 and 1 is undefined behaviour in whatever reads it as a bool.
void check_bools(const HostTensor& tensor, const std::string& path, const std::string& name);

// "no tensor 'x' in 'path'", with the nearest name.
[[noreturn]] void raise_unknown_tensor(const TensorSource& source, const std::string& name);

}  // namespace snell::io
