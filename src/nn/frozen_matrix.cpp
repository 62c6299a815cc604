#include "snell/nn/frozen_matrix.h"

#include "snell/core/frozen_storage.h"
#include "snell/nn/plain_frozen_weight.h"

namespace snell::nn {
namespace {

// Up to the last number of the path: "blocks.0" of "blocks.0.attn.qkv"; the whole path where there is none.
std::string block_of(const std::string& path) {
  size_t end = path.size();
  for (size_t begin = 0; begin < path.size();) {
    const size_t dot = std::min(path.find('.', begin), path.size());
    const std::string part = path.substr(begin, dot - begin);
    if (!part.empty() && part.find_first_not_of("0123456789") == std::string::npos) end = dot;
    begin = dot + 1;
  }
  return path.substr(0, end);
}

}  // namespace

FrozenMatrix make_frozen_matrix(const ProjectionSpec& spec, const TensorPlace& place) {
  if (place.storage == nullptr) {
    const at::Tensor weight_OI = at::zeros({spec.out_features, spec.in_features}, place.options());
    return {weight_OI, std::make_shared<PlainFrozenWeight>(weight_OI)};
  }
  // One element, seen as many: nothing may count it as memory.
  const at::Tensor shape_OI =
      at::empty({1, 1}, place.options().device(at::kMeta)).expand({spec.out_features, spec.in_features});
  return {shape_OI,
          place.storage->add({spec.path + ".weight", block_of(spec.path), spec.out_features, spec.in_features})};
}

}  // namespace snell::nn
