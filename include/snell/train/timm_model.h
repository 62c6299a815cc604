// Which of timm's models a backbone is: the one place that knows timm's names of architectures.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "snell/nn/backbone.h"

namespace snell::train {

struct TimmModel {
  std::string architecture;                                              // for timm.create_model
  nlohmann::ordered_json arguments = nlohmann::ordered_json::object();   // beside it, where the sizes are not its own
  nlohmann::ordered_json pretrained = nlohmann::ordered_json::object();  // of its pretrained_cfg: first_conv, ...
  std::string global_pool;
};

// The architecture with the fewest arguments that differ. Throws ConfigError for a setting that timm has no argument
// for.
TimmModel timm_model(const nn::BackboneConfig& config);

}  // namespace snell::train
