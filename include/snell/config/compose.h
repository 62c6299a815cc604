// Hydra's composition: a primary config whose `defaults` list names one option a group, overlays (`experiment=...`)
// that change these choices, and overrides on the command line. docs/config.md is the user's description.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "snell/config/node.h"
#include "snell/config/search_path.h"

namespace snell::config {

struct Composed {
  Node root;                                   // interpolations resolved; `defaults` and `hydra` are gone
  std::vector<std::string> overrides;          // as typed
  std::map<std::string, std::string> choices;  // group -> option ("null" when none)
};

// Throws ConfigError for everything that a user can have got wrong; the message names the key, where it was written,
// what is allowed and the nearest match.
Composed compose(const ConfigSearchPath& path, const std::string& primary, std::span<const std::string> overrides);

// The groups with their options, the chosen one marked, and the composed defaults: the second half of `--help`.
std::string help_text(const ConfigSearchPath& path, const std::string& primary);

}  // namespace snell::config
