#include "snell/peft/merge.h"

#include <map>

#include "snell/core/error.h"

namespace snell::peft {
namespace {

// `shape`: of the layer's weight [out, in].
LayerDelta delta_beside(const AdaptedLayer& layer, at::IntArrayRef shape) {
  LayerDelta out;
  for (const auto& [begin, end, branch] : layer.slices) {
    const at::Tensor delta_IS = branch->merged();
    if (!delta_IS.defined()) {
      throw core::ConfigError(core::str("the adapter of ", layer.name,
                                        " is a small network and no matrix, so it cannot be merged into the weight; "
                                        "to=safetensors and to=peft type=snell keep it as it is"));
    }
    const auto zeros = [&](at::IntArrayRef sizes) { return at::zeros(sizes, delta_IS.options()); };
    if (!out.weight_OI.defined()) out.weight_OI = zeros(shape);
    out.weight_OI.slice(0, begin, end).copy_(delta_IS.t());
    if (const at::Tensor bias_S = branch->bias(); bias_S.defined()) {
      if (!out.bias_O.defined()) out.bias_O = zeros({shape[0]});
      out.bias_O.slice(0, begin, end).copy_(bias_S);
    }
  }
  return out;
}

}  // namespace

LayerDelta delta_of(const TunedModel& model, const AdaptedLayer& layer) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : model.backbone->published()) {
    if (name == layer.name + ".weight") return delta_beside(layer, tensor.sizes());
  }
  throw core::Error("no published weight of the layer " + layer.name);
}

nn::Parameters merged_parameters(const TunedModel& model) {
  const at::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> merged;
  for (const auto& parameter : model.backbone->published()) {
    merged.emplace(parameter.name, model.backbone->value_of(parameter));
  }
  for (const auto& layer : model.layers) {
    at::Tensor& weight_OI = merged.at(layer.name + ".weight");
    const LayerDelta delta = delta_beside(layer, weight_OI.sizes());
    weight_OI = weight_OI.detach() + delta.weight_OI;
    if (!delta.bias_O.defined()) continue;
    const auto bias = merged.find(layer.name + ".bias");
    if (bias == merged.end()) {
      throw core::ConfigError(
          core::str("the adapter of ", layer.name, " has a bias, but the layer has none to merge it into"));
    }
    bias->second = bias->second.detach() + delta.bias_O;
  }
  nn::Parameters out = model.backbone->published();
  for (auto& [name, tensor] : out) tensor = merged.at(name).detach();
  return out;
}

}  // namespace snell::peft
