#include "snell/train/trained_model.h"

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
                          dist::ControlPlane& control) {
  TrainedModel out;
  out.place = {compute_dtype(config.run), dist::choose_device(config.run.device, control)};
  out.checkpoint = find_checkpoint(config, which, control);
  control.all_or_none([&] { out.model = make_model(config, num_classes, out.place); });
  const auto state = model_state(out.model);
  for (const char* part : {"param/", "thresholds/"}) {
    std::vector<ckpt::TensorRef> tensors = state;
    std::erase_if(tensors, [&](const ckpt::TensorRef& ref) { return !ref.name.starts_with(part); });
    out.step = ckpt::load(out.checkpoint, tensors, control, part).step;
  }
  control.all_or_none([&] { restore_sparsities(out.model, state); });
  return out;
}

}  // namespace snell::train
