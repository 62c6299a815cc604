#include "snell/train/model.h"

#include "snell/core/log.h"
#include "snell/nn/load_weights.h"

namespace snell::train {

peft::TunedModel make_model(const JobConfig& config, int64_t num_classes, const nn::TensorPlace& place) {
  auto model = peft::make_tuned_model(config.backbone, config.adapter, num_classes, config.seed, place);
  if (!config.backbone.weights.empty()) {
    const auto source = io::open_tensors(config.backbone.weights);
    core::log_info(nn::load_weights(*model.backbone, *source, {config.backbone.load_head}).text());
  }
  return model;
}

std::vector<ckpt::TensorRef> model_state(const peft::TunedModel& model) {
  std::vector<ckpt::TensorRef> out;
  for (const auto& [name, tensor] : model.backbone->trainable()) out.push_back({"param/" + name, tensor.detach()});
  for (const auto& [name, branch] : model.branches) {
    out.push_back({"thresholds/" + name, at::full({1}, branch->sparsity(), at::kDouble)});
  }
  return out;
}

std::vector<dist::NamedTensor> trainable_tensors(const nn::Backbone& backbone) {
  std::vector<dist::NamedTensor> out;
  for (const auto& [name, tensor] : backbone.trainable()) out.push_back({name, tensor});
  return out;
}

}  // namespace snell::train
