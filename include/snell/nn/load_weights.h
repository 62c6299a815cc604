// Published weights into a backbone: timm's names, Google's, MAE's, MoCo v3's, Microsoft's, Facebook's, the published
// SNELL code's and this program's own.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "snell/io/tensor_source.h"
#include "snell/nn/backbone.h"

namespace snell::nn {

struct LoadOptions {
  bool load_head = false;  // false: the file's head is ignored, whatever its size (fine-tuning starts with a new one)
  // Names, or patterns with * and ?, of tensors that the file may lack (they keep their start values), and of tensors
  // in the file that the backbone may have no place for.
  std::vector<std::string> allow_missing = {}, allow_unexpected = {};
};

enum class LoadAction {
  kLoaded,     // as it is
  kMapped,     // used where it stands in the file (nn/mapped_weights.h)
  kConverted,  // another name, layout or type
  kResized,    // a position embedding or bias table of another grid
  kIgnored,    // in the file, not needed
  kMissing,    // not in the file, and allowed to be
};

struct LoadedTensor {
  LoadAction action = LoadAction::kLoaded;
  std::string name;  // the model's; of an ignored tensor the file's
  std::string note;  // where it comes from, or why it is ignored
};

struct LoadReport {
  std::string path, format;
  std::vector<LoadedTensor> tensors;
  bool old_convnext = false;  // a ConvNeXt of the published SNELL code: see backbone.unbiased_norm
  int64_t count(LoadAction action) const;
  std::vector<std::string> names(LoadAction action) const;
  std::string text() const;  // one line for the log
  // A line a kind of tensor: layers that differ by their numbers only are counted ("blocks.*.norm1.weight", 12).
  std::string table() const;
};

// Copies every published tensor from `source`, converting type and layout, and the adapters where the file holds some
// (the published code's *_model_best.pth, this program's model.safetensors). One tensor of the file is read at a time.
// Throws WeightsError that names what is missing, left over, or of the wrong shape or type.
LoadReport load_weights(Backbone& backbone, const io::TensorSource& source, const LoadOptions& options = {});

// A tensor of a weight file under timm's name, in timm's layout, when it is asked for.
struct TimmTensor {
  std::string name;
  std::vector<std::string> file_names;  // what it is made of
  bool as_it_is = false;                // one tensor of the file, in its own layout
  std::function<at::Tensor()> read;     // reads from the source
};
// All that a backbone could have use for, by name.
std::vector<TimmTensor> timm_tensors(const io::TensorSource& source);

// A view of a file's tensor for LibTorch, on the CPU, in the file's type; it keeps the file's bytes alive.
at::Tensor to_tensor(const io::HostTensor& host);

}  // namespace snell::nn
