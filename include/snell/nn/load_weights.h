// Published weights into a backbone: timm's names, separate q, k and v, and Google's JAX files.
#pragma once

#include <string>
#include <vector>

#include "snell/io/tensor_source.h"
#include "snell/nn/backbone.h"

namespace snell::nn {

struct LoadOptions {
  bool load_head = false;  // false: the file's head is ignored, whatever its size (fine-tuning starts with a new one)
};

struct LoadReport {
  std::string path, format;
  std::vector<std::string> loaded;   // names of the model's tensors
  std::vector<std::string> resized;  // position embeddings of another grid
  std::vector<std::string> ignored;  // names in the file that fine-tuning does not need (its head)
  std::string text() const;          // one line for the log
};

// Copies every published tensor from `source`, converting type and layout. Throws WeightsError that names what is
// missing, left over or of the wrong shape.
LoadReport load_weights(Backbone& backbone, const io::TensorSource& source, const LoadOptions& options = {});

// A view of a file's tensor for LibTorch, on the CPU, in the file's type; it keeps the file's bytes alive.
at::Tensor to_tensor(const io::HostTensor& host);

}  // namespace snell::nn
