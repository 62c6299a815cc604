// model.safetensors: what a run trained, in one file for evaluation, prediction and other programs. Checksums lie in
// the metadata ("snell.tensors": name to "DTYPE [shape] XXH3-128"; "snell.metadata": over the rest of the metadata).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "snell/ckpt/checkpoint.h"

namespace snell::ckpt {

struct TrainedFile {
  std::vector<TensorRef> tensors;  // CPU, in the file's order
  std::map<std::string, std::string> metadata;
};

// Writes the file (temporary name, flush, rename). The caller's keys must not start with "snell.". Throws DiskError.
void export_trained(const std::string& path, const std::vector<TensorRef>& tensors,
                    const std::map<std::string, std::string>& metadata);

// Throws WeightsError when a checksum is missing or wrong.
TrainedFile import_trained(const std::string& path);

}  // namespace snell::ckpt
