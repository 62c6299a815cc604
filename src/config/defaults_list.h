// Expands the defaults lists into the sequence of configs to merge. The algorithm is Hydra 1.3's (defaults_list.py):
// lists are walked from the end, so that an overlay at the end of the primary list may override choices before it;
// the command line's choices come first, then the outer lists', and the first one to speak of a group wins.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config_file.h"
#include "snell/config/override.h"

namespace snell::config {

struct ConfigStep {
  const ConfigFile* config = nullptr;
  std::string package;  // "optim", "" for the top level
};

struct DefaultsList {
  std::vector<ConfigStep> steps;               // in the order of merging
  std::map<std::string, std::string> choices;  // group or group@package -> option
  std::vector<Override> values;                // the overrides that are not of groups
};

// `may_miss`: a group whose option is `???` is left out instead of refused.
DefaultsList expand_defaults(ConfigRepository& repository, const std::string& primary,
                             const std::vector<Override>& overrides, bool may_miss = false);

}  // namespace snell::config
