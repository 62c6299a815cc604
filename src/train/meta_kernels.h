// LibTorch's operations that have no implementation for the meta device in C++.
#pragma once

#include <torch/library.h>

namespace snell::train {

// While it lives, those that a model needs have one: it allocates what the CPU's does, in its order, and computes
// nothing.
class MetaKernels {
 public:
  MetaKernels();

 private:
  torch::Library library_;
};

}  // namespace snell::train
