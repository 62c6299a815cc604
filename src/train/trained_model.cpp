#include "snell/train/trained_model.h"

#include <cstring>

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

}  // namespace

TrainedModel load_trained(const JobConfig& config, int64_t num_classes, const std::string& which,
                          dist::ControlPlane& control, const std::string& weights) {
  if (weights == "ema" && !config.optim.ema.enabled) {
    throw core::ConfigError(core::str(config.run.dir, " keeps no moving average of its weights (optim.ema.enabled)"));
  }
  TrainedModel out;
  out.place = {compute_dtype(config.run), dist::choose_device(config.run.device, control)};
  out.checkpoint = find_checkpoint(config, which, control);
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
