// What a checkpoint folder holds, for people and for programs.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace snell::ckpt {

struct Inspection {
  std::string text;
  nlohmann::json json;
  bool verified = false;  // every file has its checksum
};

// `path` is a checkpoint folder. Damage is reported inside, and makes `verified` false; throws WeightsError only when
// there is no readable manifest. Without `verify` the files are not looked at.
Inspection inspect_checkpoint(const std::string& path, bool verify = true);

// The committed checkpoints in a run's checkpoint folder (checkpoint_root()), newest first; none when it is not there.
// Throws WeightsError when it cannot be listed.
std::vector<std::string> checkpoint_folders(const std::string& root);

}  // namespace snell::ckpt
