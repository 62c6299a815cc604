// The state dict in a pickle of torch.save: which tensors, of which storage, and how they lie in it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pickle_value.h"
#include "snell/io/host_tensor.h"

namespace snell::io {

struct TorchStorage {
  std::string key;             // its name in the file
  std::optional<DType> dtype;  // none: bytes without a type, or a type that io::DType has not
  uint64_t item_bytes = 1;
  uint64_t bytes = 0;
};

struct TorchTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape, strides;  // strides and offset in elements
  int64_t offset = 0;
  size_t storage = 0;  // place in TorchContents::storages
};

struct TorchContents {
  std::vector<TorchStorage> storages;  // all that the pickle mentions, also those that no tensor below uses
  std::map<std::string, size_t, std::less<>> by_key;
  std::vector<TorchTensor> tensors;             // of the state dict, in its order
  std::map<std::string, std::string> metadata;  // "wrapper", "other_keys", "not_tensors": names, where there are any
};

// The state dict is looked for as timm does: under state_dict_ema, model_ema, state_dict or model, in this order, else
// the dictionary itself. Entries of it that are not tensors are left out and named in `metadata`. Every tensor lies
// inside its storage. Throws WeightsError (naming `path`): no state dict, a tensor of a kind or type that is not
// supported, two equal names, a view outside of its storage.
TorchContents read_torch_contents(const Pickle& pickle, const std::string& path);

}  // namespace snell::io
