#include <ATen/ops/nonzero.h>

#include <nlohmann/json.hpp>

#include "export_tensors.h"
#include "snell/peft/merge.h"
#include "snell/train/model.h"

namespace snell::train {

ExportFolder export_factors(const ExportInput& input, const std::string& type) {
  refuse_type("safetensors", type);
  ExportFolder out;
  out.tensors_name = "adapter.safetensors";
  out.metadata = input.metadata;
  out.metadata["format"] = "pt";
  const std::string prefix = "param/";
  for (auto& [name, tensor] : model_state(input.model)) {
    out.tensors.push_back({name.starts_with(prefix) ? name.substr(prefix.size()) : name, tensor});
  }
  return out;
}

ExportFolder export_delta(const ExportInput& input, const std::string& type) {
  refuse_type("delta", type);
  require_adapter(input, "delta");
  ExportFolder out;
  out.tensors_name = "delta.safetensors";
  nlohmann::json layers = nlohmann::json::object();
  int64_t kept = 0, all = 0;
  for (const auto& layer : input.model.layers) {
    const auto [weight_OI, bias_O] = peft::delta_of(input.model, layer);
    const at::Tensor where_2N = weight_OI.nonzero().t().contiguous();
    out.tensors.push_back({layer.name + ".indices", where_2N.to(at::kInt)});
    out.tensors.push_back({layer.name + ".values", weight_OI.index({where_2N[0], where_2N[1]})});
    if (bias_O.defined()) out.tensors.push_back({layer.name + ".bias", bias_O});
    layers[layer.name] = {{"shape", weight_OI.sizes().vec()}, {"nonzero", where_2N.size(1)}};
    kept += where_2N.size(1);
    all += weight_OI.numel();
  }
  for (auto& ref : tuned_published(input.model)) out.tensors.push_back(std::move(ref));
  out.metadata = input.metadata;
  out.metadata["format"] = "pt";
  out.metadata["layers"] = layers.dump();
  out.note = core::str(kept, " of ", all, " entries of the adapted weights change");
  return out;
}

}  // namespace snell::train
