// Weight files made here: another file's tensors under timm's names, and the start values of a backbone. Both are
// written one tensor at a time, so that the model need not fit into memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "snell/io/tensor_source.h"
#include "snell/train/job_config.h"

namespace snell::train {

struct WrittenWeights {
  int64_t tensors = 0, converted = 0;  // converted: renamed, laid out anew or of another type
  int64_t bytes = 0;
};

// The tensors of any file that backbones load, as a safetensors file with timm's names and layouts (q, k and v in one
// matrix); `dtype`: of all floating-point tensors, else each keeps its own. Throws WeightsError, DiskError.
WrittenWeights convert_weights(const io::TensorSource& source, const std::string& path,
                               std::optional<at::ScalarType> dtype);

// What a run of the config begins with where backbone.weights is empty, without the head, in run.dtype.
WrittenWeights write_start_weights(const JobConfig& config, const std::string& path);

}  // namespace snell::train
