// peft's folder: https://github.com/huggingface/peft, version 0.21.2, tuners/shira and tuners/lora, and
// utils/save_and_load.py for the tensors' names. What peft has no module for (the class token) stands under its own
// name, which peft loads into the base model.
#include <nlohmann/json.hpp>

#include <algorithm>
#include <optional>

#include "export_tensors.h"
#include "snell/peft/low_rank.h"
#include "snell/peft/merge.h"
#include "snell/train/model.h"
#include "snell/train/timm_model.h"

namespace snell::train {
namespace {

using core::str;
using nlohmann::ordered_json;

constexpr const char* kPeftVersion = "0.21.2";
const std::string kPrefix = "base_model.model.";

ordered_json target_modules(const ExportInput& input) {
  ordered_json out = ordered_json::array();
  for (const auto& layer : input.model.layers) out.push_back(layer.name);
  return out;
}

// The modules that train beside the adapters: those of the head, one by one, as peft unloads no composed ones.
ordered_json modules_to_save(const ExportInput& input) {
  std::vector<std::string> out;
  for (const auto& [name, tensor] : tuned_published(input.model)) {
    const std::string module = name.substr(0, name.rfind('.'));
    if (module != name && std::ranges::find(out, module) == out.end()) out.push_back(module);
  }
  return out;
}

ordered_json adapter_config(const ExportInput& input, const std::string& peft_type) {
  return {{"peft_type", peft_type},
          {"peft_version", kPeftVersion},
          {"auto_mapping", nullptr},
          {"base_model_name_or_path", timm_model(input.config.backbone).architecture},
          {"revision", nullptr},
          {"task_type", nullptr},
          {"inference_mode", true},
          {"target_modules", target_modules(input)},
          {"modules_to_save", modules_to_save(input)}};
}

ExportFolder peft_folder(const ExportInput& input, std::vector<ckpt::TensorRef> tensors, const ordered_json& config) {
  ExportFolder out;
  out.tensors_name = "adapter_model.safetensors";
  out.tensors = std::move(tensors);
  for (auto& ref : tuned_published(input.model, kPrefix)) out.tensors.push_back(std::move(ref));
  for (auto& ref : out.tensors) {
    if (ref.tensor.is_floating_point()) ref.tensor = ref.tensor.to(at::kFloat);
  }
  out.metadata = input.metadata;
  out.metadata["format"] = "pt";
  out.config_name = "adapter_config.json";
  out.config = config.dump(2) + "\n";
  return out;
}

// --- SHIRA: the entries of a sparse ΔW and their places -------------------------------------------------------------

// The entries of a layer's ΔW that are not zero.
struct SparseDelta {
  std::string layer;
  int64_t rows = 0, columns = 0;
  at::Tensor where_2N, values_N;
};

std::vector<SparseDelta> sparse_deltas(const peft::TunedModel& model) {
  std::vector<SparseDelta> out;
  for (const auto& layer : model.layers) {
    const at::Tensor weight_OI = peft::delta_of(model, layer).weight_OI;
    const at::Tensor where_2N = weight_OI.nonzero().t().contiguous();
    out.push_back(
        {layer.name, weight_OI.size(0), weight_OI.size(1), where_2N, weight_OI.index({where_2N[0], where_2N[1]})});
  }
  return out;
}

// SHIRA keeps r · (m + n) entries of every layer, at most m · n: the smallest r that holds all layers, or nothing.
std::optional<int64_t> shira_rank(const std::vector<SparseDelta>& deltas) {
  int64_t needed = 1, largest = std::numeric_limits<int64_t>::max();
  for (const auto& d : deltas) {
    const int64_t unit = d.rows + d.columns;
    needed = std::max(needed, (d.values_N.size(0) + unit - 1) / unit);
    largest = std::min(largest, d.rows * d.columns / unit);
  }
  return needed <= largest ? std::optional(needed) : std::nullopt;
}

// Padded with zeros at (0, 0): peft adds up entries of one place.
std::optional<ExportFolder> try_shira(const ExportInput& input) {
  const auto deltas = sparse_deltas(input.model);
  const auto rank = shira_rank(deltas);
  if (!rank) return {};
  std::vector<ckpt::TensorRef> tensors;
  for (const auto& d : deltas) {
    const int64_t padding = *rank * (d.rows + d.columns) - d.values_N.size(0);
    tensors.push_back({kPrefix + d.layer + ".shira_weight", at::constant_pad_nd(d.values_N, {0, padding})});
    tensors.push_back(
        {kPrefix + d.layer + ".shira_indices", at::constant_pad_nd(d.where_2N.to(at::kInt), {0, padding})});
  }
  ordered_json config = adapter_config(input, "SHIRA");
  config.update({{"r", *rank},
                 {"mask_type", "random"},
                 {"random_seed", nullptr},
                 {"fan_in_fan_out", false},
                 {"init_weights", true}});
  return peft_folder(input, std::move(tensors), config);
}

// --- LoRA: of a layer with several slices, their A below one another and their B as blocks of a diagonal -----------

bool is_low_rank(const ExportInput& input) {
  return std::ranges::all_of(input.model.branches, [](const peft::NamedBranch& named) {
    return dynamic_cast<const peft::LowRankBranch*>(named.branch.get()) != nullptr;
  });
}

struct LoraLayer {
  at::Tensor a_RI, b_OR, bias_O;
};

LoraLayer lora_layer(const peft::AdaptedLayer& layer, int64_t out_features) {
  std::vector<at::Tensor> parts;
  for (const auto& slice : layer.slices) parts.push_back(slice.branch->factors()[0].tensor.detach());
  LoraLayer out{at::cat(parts, 0), {}, {}};
  out.b_OR = at::zeros({out_features, out.a_RI.size(0)}, out.a_RI.options());
  int64_t column = 0;
  for (const auto& [begin, end, branch] : layer.slices) {
    const at::Tensor b_SR = branch->factors()[1].tensor.detach();
    out.b_OR.slice(0, begin, end).slice(1, column, column + b_SR.size(1)).copy_(b_SR);
    column += b_SR.size(1);
    if (!branch->bias().defined()) continue;
    if (!out.bias_O.defined()) out.bias_O = at::zeros({out_features}, out.a_RI.options());
    out.bias_O.slice(0, begin, end).copy_(branch->bias());
  }
  return out;
}

ExportFolder lora_folder(const ExportInput& input) {
  std::map<std::string, at::Tensor> published;
  for (const auto& [name, tensor] : input.model.backbone->published()) published.emplace(name, tensor);
  std::vector<ckpt::TensorRef> tensors;
  // peft scales by alpha / r; this project's LoRA has no scale.
  ordered_json ranks = ordered_json::object();
  bool with_bias = false;
  for (const auto& layer : input.model.layers) {
    const LoraLayer lora = lora_layer(layer, published.at(layer.name + ".weight").size(0));
    tensors.push_back({kPrefix + layer.name + ".lora_A.weight", lora.a_RI});
    tensors.push_back({kPrefix + layer.name + ".lora_B.weight", lora.b_OR});
    if (lora.bias_O.defined()) tensors.push_back({kPrefix + layer.name + ".lora_B.bias", lora.bias_O});
    with_bias = with_bias || lora.bias_O.defined();
    if (layer.slices.size() > 1) ranks[layer.name] = lora.a_RI.size(0);
  }
  ordered_json config = adapter_config(input, "LORA");
  config.update({{"r", input.config.adapter.rank},
                 {"lora_alpha", input.config.adapter.rank},
                 {"rank_pattern", ranks},
                 {"alpha_pattern", ranks},
                 {"lora_dropout", 0.0},
                 {"lora_bias", with_bias},
                 {"bias", "none"},
                 {"fan_in_fan_out", false},
                 {"use_rslora", false},
                 {"use_dora", false},
                 {"init_lora_weights", true}});
  return peft_folder(input, std::move(tensors), config);
}

// --- SNELL: the factors themselves ----------------------------------------------------------------------------------

ExportFolder snell_folder(const ExportInput& input) {
  std::vector<ckpt::TensorRef> tensors;
  ordered_json thresholds = ordered_json::object();
  for (const auto& [name, branch] : input.model.branches) {
    for (const auto& factor : branch->factors()) tensors.push_back({kPrefix + factor.name, factor.tensor.detach()});
    thresholds[name] = branch->sparsity();
  }
  const auto& adapter = input.config.adapter;
  ordered_json config = adapter_config(input, "SNELL");
  config.update({{"method", adapter.name},
                 {"r", adapter.rank},
                 {"heads", adapter.heads},
                 {"norm_p", adapter.norm_p},
                 {"sparsifier", adapter.sparsifier},
                 {"thresholds", thresholds}});
  return peft_folder(input, std::move(tensors), config);
}

ExportFolder with_note(ExportFolder folder, const std::string& reason) {
  folder.note = reason + ". Written as peft_type SNELL, which peft itself does not read (docs/weights.md)";
  return folder;
}

}  // namespace

ExportFolder export_peft(const ExportInput& input, const std::string& type) {
  if (type != "auto" && type != "shira" && type != "lora" && type != "snell") {
    throw core::ConfigError(str("to=peft knows no type=", type, "; known: auto, shira, lora, snell"));
  }
  require_adapter(input, "peft");
  const std::string method = "adapter.name=" + input.config.adapter.name;
  if (type == "snell") return snell_folder(input);
  if (is_low_rank(input)) {
    if (type == "shira") throw core::ConfigError(str("type=shira: ", method, " is exact as type=lora; use that"));
    return lora_folder(input);
  }
  if (type == "lora") throw core::ConfigError(str("type=lora cannot hold ", method, "; use type=shira or type=snell"));
  if (type == "auto" && !input.model.branches.front().branch->merged().defined()) {
    return with_note(snell_folder(input), str(method, " is no matrix"));
  }
  if (auto shira = try_shira(input)) return std::move(*shira);
  const std::string reason =
      "SHIRA keeps r·(m + n) entries of each layer, with one r, and at most m·n: too few for this ΔW";
  if (type == "shira") throw core::ConfigError(str("type=shira: ", reason, "; use type=snell, or to=delta"));
  return with_note(snell_folder(input), reason);
}

}  // namespace snell::train
