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
  std::string checkpoint;  // the folder it came from
  int64_t step = 0;
};

// `which`: "last", "best", or a checkpoint's folder. `weights`: "model", or "ema" for their moving average. Collective.
// Throws WeightsError when there is none, ConfigError when the run keeps no average.
TrainedModel load_trained(const JobConfig& config, int64_t num_classes, const std::string& which,
                          dist::ControlPlane& control, const std::string& weights = "model");

}  // namespace snell::train
