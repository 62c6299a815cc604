// From a weight file's names and layouts to timm's: pure look-up, used by load_weights.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "snell/io/tensor_source.h"
#include "snell/nn/backbone.h"

namespace snell::nn {

// A tensor under timm's name, and how to read it from the file.
struct NamedReader {
  std::vector<std::string> file_names;  // what it is made of
  std::function<at::Tensor()> read;
  bool as_it_is = false;  // one tensor of the file, in its own layout
};
using ReaderMap = std::map<std::string, NamedReader>;

struct IgnoredName {
  std::string file_name, why;
};

struct WeightNames {
  ReaderMap readers;
  std::vector<IgnoredName> ignored;  // what a backbone has no use for, whichever it is
  bool old_convnext = false;         // names of the published SNELL code's ConvNeXt
};

// Recognises the files of
//   Google's ViT (JAX, .npz): [in, out] kernels, names such as "Transformer/encoderblock_0/LayerNorm_0/scale";
//   MAE and MoCo v3 (timm's names; a decoder, "module.", "base_encoder."), also with separate q, k and v;
//   Microsoft's Swin (downsampling at the end of a stage, tables of relative positions);
//   Facebook's ConvNeXt ("downsample_layers.0.0.weight", "stages.0.0.dwconv.weight");
//   the published SNELL code ("stem.proj.weight", adapters with their fixed coefficients);
//   this program ("param/", "thresholds/"); all else keeps its name: timm's.
WeightNames timm_names(const io::TensorSource& source);

// Google's names, if the file has them under `prefix`.
ReaderMap google_names(const io::TensorSource& source, const std::string& prefix);

}  // namespace snell::nn
