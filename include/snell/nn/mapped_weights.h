// Frozen weights that are used where they stand in a mapped safetensors file, for backbones that outgrow a machine: no
// copy is made, their pages are the file's, which the system reads when they are touched, shares among the processes of
// a machine, and drops when it needs the memory.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>

#include "snell/core/frozen_storage.h"
#include "snell/nn/parameter.h"

namespace snell::nn {

class MappedStorage : public core::FrozenStorage {
 public:
  // Opens the weight file; on the meta device no file is looked at. Throws WeightsError where it is no safetensors
  // file, ConfigError where the place is on another device than the CPU.
  MappedStorage(const std::string& path, const TensorPlace& place);

  struct File;

 protected:
  // Throws WeightsError, in words, where the file has not this very matrix: it has another type or shape, is
  // transposed, or q, k and v stand apart. Its acquire() throws WeightsError where the file was written to since it was
  // opened; its release() takes the pages out of the process's memory (they stay in the system's cache of the file).
  std::shared_ptr<core::StoredWeight> make(const core::FrozenSpec& spec) override;

 private:
  TensorPlace place_;
  std::shared_ptr<File> file_;  // null on the meta device
};

}  // namespace snell::nn
