// timm's folder: https://github.com/huggingface/pytorch-image-models, timm/models/_hub.py (load_model_config_from_path,
// save_config_for_hf) and _pretrained.py (PretrainedCfg).
#include <nlohmann/json.hpp>

#include "export_tensors.h"
#include "snell/peft/merge.h"
#include "snell/train/timm_model.h"

namespace snell::train {
namespace {

using nlohmann::ordered_json;

ordered_json pretrained_config(const ExportInput& input, const TimmModel& model, int64_t num_classes) {
  const auto& backbone = input.config.backbone;
  const data::EvalRecipe eval = data::describe_eval(input.config.data.transform);
  ordered_json out{{"custom_load", false},
                   {"input_size", {backbone.in_chans, backbone.image_size, backbone.image_size}},
                   {"interpolation", eval.interpolation},
                   {"crop_pct", eval.crop_pct},
                   {"crop_mode", eval.crop_mode},
                   {"mean", eval.mean},
                   {"std", eval.std},
                   {"num_classes", num_classes},
                   {"classifier", input.model.backbone->head_name()}};
  out.update(model.pretrained);
  return out;
}

}  // namespace

ExportFolder export_timm(const ExportInput& input, const std::string& type) {
  refuse_type("timm", type);
  const TimmModel model = timm_model(input.config.backbone);
  const at::Tensor& head = input.model.backbone->head_weight();
  ordered_json config{{"architecture", model.architecture},
                      {"num_classes", head.size(0)},
                      {"num_features", head.size(1)},
                      {"global_pool", model.global_pool}};
  if (!input.label_names.empty()) config["label_names"] = input.label_names;
  if (!model.arguments.empty()) config["model_args"] = model.arguments;
  config["pretrained_cfg"] = pretrained_config(input, model, head.size(0));

  ExportFolder out;
  out.tensors_name = "model.safetensors";
  for (const auto& [name, tensor] : peft::merged_parameters(input.model)) out.tensors.push_back({name, tensor});
  out.metadata = input.metadata;
  out.metadata["format"] = "pt";  // what Python's readers look for
  out.config_name = "config.json";
  out.config = config.dump(2) + "\n";
  return out;
}

}  // namespace snell::train
