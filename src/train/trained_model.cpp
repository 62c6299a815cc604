#include "snell/train/trained_model.h"

#include <cstring>

#include "snell/ckpt/manifest.h"
#include "snell/train/frozen_storage.h"
#include "snell/train/model.h"

namespace snell::train {
namespace {

std::string find_checkpoint(const JobConfig& config, const std::string& which, dist::ControlPlane& control) {
  if (which != "last" && which != "best") return which;
  const auto found = which == "best" ? ckpt::find_best(config.run.dir, control, config.checkpoint)
                                     : ckpt::find_latest(config.run.dir, control, config.checkpoint);
  if (!found) throw core::WeightsError(core::str(config.run.dir, " holds no checkpoint; train the run first."));
  return *found;
}

// From the head's bias.
int64_t classes_of(const std::string& checkpoint) {
  for (const auto& [name, record] : ckpt::read_manifest(checkpoint).tensors) {
    if (name.starts_with("param/head.") && name.ends_with("bias") && !name.ends_with("norm.bias")) {
      if (record.shape.size() == 1) return record.shape[0];
    }
  }
  throw core::WeightsError(core::str(checkpoint, " holds no classifier's bias"));
}

}  // namespace

TrainedModel load_trained(const JobConfig& config, int64_t num_classes, const std::string& which,
                          dist::ControlPlane& control, const std::string& weights) {
  if (weights == "ema" && !config.optim.ema.enabled) {
    throw core::ConfigError(core::str(config.run.dir, " keeps no moving average of its weights (optim.ema.enabled)"));
  }
  TrainedModel out;
  const c10::Device device = dist::choose_device(config.run.device, control);
  JobConfig kept = config;
  if (control.size() == 1) kept.dist.shard.frozen = "none";  // of a run on many ranks, looked at by one
  out.place = make_place(kept, device, control);
  if (which == "none") {
    if (num_classes == 0 || config.backbone.weights.empty() || !config.backbone.load_head) {
      throw core::ConfigError(
          "--checkpoint none judges a weight file as it is: set backbone.weights=FILE and backbone.load_head=true");
    }
    out.checkpoint = config.backbone.weights;
    control.all_or_none([&] { out.model = make_model(config, num_classes, out.place); });
    return out;
  }
  out.checkpoint = find_checkpoint(config, which, control);
  if (num_classes == 0) control.all_or_none([&] { num_classes = classes_of(out.checkpoint); });
  control.all_or_none([&] { out.model = make_model(config, num_classes, out.place); });
  auto state = model_state(out.model);
  const std::string stored = weights == "ema" ? "ema/" : "param/";
  for (auto& ref : state) {
    if (ref.name.starts_with("param/")) ref.name = stored + ref.name.substr(std::strlen("param/"));
  }
  for (const std::string& part : {stored, std::string("thresholds/")}) {
    std::vector<ckpt::TensorRef> tensors = state;
    std::erase_if(tensors, [&](const ckpt::TensorRef& ref) { return !ref.name.starts_with(part); });
    out.step = ckpt::load(out.checkpoint, tensors, control, part).step;
  }
  control.all_or_none([&] { restore_sparsities(out.model, state); });
  return out;
}

}  // namespace snell::train
