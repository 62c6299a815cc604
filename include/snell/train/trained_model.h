// A run's model for judging: built from the run's config, filled from one of its checkpoints.
#pragma once

#include <string>

#include "snell/dist/control_plane.h"
#include "snell/peft/tuning.h"
#include "snell/train/job_config.h"

namespace snell::train {

struct TrainedModel {
  peft::TunedModel model;
  nn::TensorPlace place;
  std::string checkpoint;  // the folder it came from, or the weight file
  int64_t step = 0;
};

// `which`: "last", "best", a checkpoint's folder, or "none" for backbone.weights as it is, with its head.
// `num_classes`: 0 takes as many as the checkpoint has. `weights`: "model", or "ema" for their moving average.
// Collective. Throws WeightsError when there is no checkpoint, ConfigError when the run keeps no average, and when
// "none" is without backbone.weights and backbone.load_head.
TrainedModel load_trained(const JobConfig& config, int64_t num_classes, const std::string& which,
                          dist::ControlPlane& control, const std::string& weights = "model");

}  // namespace snell::train
