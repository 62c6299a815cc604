// What a checkpoint folder holds, for people and for programs.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace snell::ckpt {

struct Inspection {
  std::string text;
  nlohmann::json json;
  bool verified = false;  // every file has its checksum
};

// `path` is a checkpoint folder. Damage is reported inside, and makes `verified` false; throws WeightsError only when
// there is no readable manifest.
Inspection inspect_checkpoint(const std::string& path);

}  // namespace snell::ckpt
