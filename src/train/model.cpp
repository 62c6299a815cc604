#include "snell/train/model.h"

#include <algorithm>
#include <map>

#include "snell/core/log.h"
#include "snell/nn/load_weights.h"

namespace snell::train {

static constexpr std::string_view kThresholds = "thresholds/";

peft::TunedModel make_model(const JobConfig& config, int64_t num_classes, const nn::TensorPlace& place) {
  const bool from_file = !config.backbone.weights.empty();
  auto model = peft::make_tuned_model(config.backbone, config.adapter, num_classes, config.seed, place,
                                      /*draw_published=*/!from_file);
  if (from_file) {
    const auto source = io::open_tensors(config.backbone.weights);
    const auto& c = config.backbone;
    const auto report = nn::load_weights(*model.backbone, *source, {c.load_head, c.allow_missing, c.allow_unexpected});
    const auto missing = report.names(nn::LoadAction::kMissing);
    model.backbone->init_published(
        config.seed, [&](const std::string& name) { return std::ranges::find(missing, name) != missing.end(); });
    core::log_info(report.text() + "\n" + report.table());
    if (report.old_convnext && !c.unbiased_norm) {
      core::log_warning(core::str(report.path,
                                  " is a ConvNeXt of the published SNELL code, whose norms before downsampling divide "
                                  "by C - 1; backbone.unbiased_norm=true gives its outputs"));
    }
  }
  return model;
}

std::vector<ckpt::TensorRef> model_state(const peft::TunedModel& model) {
  std::vector<ckpt::TensorRef> out;
  for (const auto& [name, tensor] : model.backbone->trainable()) out.push_back({"param/" + name, tensor.detach()});
  for (const auto& [name, branch] : model.branches) {
    out.push_back({std::string(kThresholds) + name, at::full({1}, branch->sparsity(), at::kDouble)});
  }
  return out;
}

void restore_sparsities(const peft::TunedModel& model, const std::vector<ckpt::TensorRef>& state) {
  std::map<std::string, double> stored;
  for (const auto& [name, tensor] : state) {
    if (name.starts_with(kThresholds)) stored[name.substr(kThresholds.size())] = tensor.item<double>();
  }
  for (const auto& [name, branch] : model.branches) {
    const double sparsity = stored.at(name);
    if (!(sparsity >= 0 && sparsity <= 1)) {
      throw core::WeightsError(
          core::str("the checkpoint holds a sparsity of ", sparsity, " for ", name, "; it must lie in [0, 1]"));
    }
    if (sparsity != branch->sparsity()) branch->set_sparsity(sparsity);
  }
}

std::vector<dist::NamedTensor> trainable_tensors(const nn::Backbone& backbone) {
  std::vector<dist::NamedTensor> out;
  for (const auto& [name, tensor] : backbone.trainable()) out.push_back({name, tensor});
  return out;
}

}  // namespace snell::train
