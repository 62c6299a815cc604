// A file of named tensors, whatever its format: what the loading code of the backbones and checkpoints reads from.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "snell/io/host_tensor.h"

namespace snell::io {

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual const std::string& path() const = 0;
  virtual const char* format() const = 0;              // "safetensors", "npz"
  virtual std::vector<std::string> names() const = 0;  // in the file's order
  // Shape and type without reading the data.
  virtual HostTensor describe(const std::string& name) const = 0;
  // With bytes. Throws WeightsError when the name is unknown or the bytes cannot be read.
  virtual HostTensor read(const std::string& name) const = 0;
  // Free text pairs (safetensors' __metadata__); empty where the format has none.
  virtual const std::map<std::string, std::string>& metadata() const = 0;
};

// Opens a file and recognises its format by content (safetensors, npz). Throws WeightsError (exit code 4).
std::unique_ptr<TensorSource> open_tensors(const std::string& path);

// Writes a safetensors file: to a temporary name beside it, flushed to disk, then renamed. Throws DiskError.
// `tensors` in the order they are laid out; `metadata` becomes __metadata__.
void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, HostTensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace snell::io
