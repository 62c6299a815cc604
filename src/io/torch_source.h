// A TensorSource over the state dict of a torch.save file, wherever the bytes of its storages are.
#pragma once

#include <functional>
#include <memory>

#include "file_bytes.h"
#include "pickle_torch.h"
#include "snell/io/tensor_source.h"

namespace snell::io {

struct TorchFile {
  const char* format = "";  // "torch (zip)" or "torch (legacy)"
  std::string path;
  uint64_t file_size = 0;
  TorchContents contents;
  std::function<FileBytes(size_t storage)> read_storage;  // checked, and as long as the contents say
  std::function<void()> verify;
};

std::unique_ptr<TensorSource> make_torch_source(TorchFile file);

}  // namespace snell::io
