// What `snell inspect` finds, and its part for the model of a config.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "snell/core/error.h"

namespace snell::apps {

struct Findings {
  std::string text;
  nlohmann::ordered_json json;
  core::ExitCode code = core::ExitCode::kOk;
};

// Layers with their parameters and bytes of the model that the overrides describe; nothing of it is allocated.
// `classes` of the head: absent, those of the data set when its file is there, else ImageNet's 1000.
Findings inspect_model(std::vector<std::string> overrides, const std::string& config_dir,
                       std::optional<int64_t> classes);

}  // namespace snell::apps
