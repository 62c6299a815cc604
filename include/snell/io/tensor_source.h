// A file of named tensors, whatever its format: what the loading code of the backbones and checkpoints reads from.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "snell/io/host_tensor.h"

namespace snell::io {

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual const std::string& path() const = 0;
  // "safetensors", "safetensors (sharded)", "npz", "torch (zip)", "torch (legacy)"
  virtual const char* format() const = 0;
  virtual std::vector<std::string> names() const = 0;  // in the file's order
  // Shape and type without reading the data.
  virtual HostTensor describe(const std::string& name) const = 0;
  // With bytes. Throws WeightsError when the name is unknown, the bytes cannot be read, or their checksum (npz, torch
  // (zip)) does not match. The bytes view the mapped file where they can; the pages count as the process's memory until
  // the last copy of keep_alive goes, so take one tensor at a time to stay near the memory of one copy.
  virtual HostTensor read(const std::string& name) const = 0;
  // The bytes where they stand in the mapped file, to be used there for as long as keep_alive lives: unlike read()'s,
  // their pages are not given back with it. Nothing where there is no such place: formats other than safetensors, and
  // bytes that are not aligned for their type. Throws WeightsError when the name is unknown.
  virtual std::optional<HostTensor> in_place(const std::string& name) const;
  // Throws WeightsError where the file behind in_place(name) was written to since it was opened.
  virtual void check_unchanged(const std::string& name) const;
  // safetensors' __metadata__; of a torch file "wrapper" (the key that holds the state dict, where one does),
  // "other_keys" (beside it) and "not_tensors" (entries of the state dict that are left out); of an npz "not_tensors",
  // too: arrays of types that DType has not.
  virtual const std::map<std::string, std::string>& metadata() const = 0;
  // Reads everything once, also what no tensor uses, and throws WeightsError where the format can tell damage.
  virtual void verify() const;
};

// Opens a weight file and recognises its format by content, not by name: safetensors, an index of safetensors shards
// (model.safetensors.index.json), npz, and files of torch.save in both layouts, of which the state dict is taken (under
// state_dict_ema, model_ema, state_dict, model, or at the top) and of which no code is ever run. A folder stands for
// the model.safetensors or the model.safetensors.index.json in it. Throws WeightsError (exit code 4). Memory for
// reading stays under 4 × the file's size + 64 MB, whatever the file claims.
std::unique_ptr<TensorSource> open_tensors(const std::string& path);

// A tensor that is made when its turn comes to be written.
struct TensorToWrite {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::function<HostTensor()> make;  // of that type and shape; its bytes are let go before the next is made
};

// Writes a safetensors file: to a temporary name beside it, flushed to disk, then renamed. Throws DiskError.
// `tensors` in the order they are laid out; `metadata` becomes __metadata__.
void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, HostTensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});
// The same of a model that need not fit into memory: one tensor at a time.
void stream_safetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                        const std::map<std::string, std::string>& metadata = {});

}  // namespace snell::io
