// From a weight file's names and layouts to timm's: pure look-up, used by load_weights.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "snell/io/tensor_source.h"
#include "snell/nn/backbone.h"

namespace snell::nn {

// A tensor under timm's name, and how to read it from the file.
struct NamedReader {
  std::vector<std::string> file_names;  // what it is made of
  std::function<at::Tensor()> read;
};
using ReaderMap = std::map<std::string, NamedReader>;

// Recognises Google's names, and fuses separate q, k and v into qkv; everything else keeps its name.
ReaderMap timm_names(const io::TensorSource& source);

}  // namespace snell::nn
