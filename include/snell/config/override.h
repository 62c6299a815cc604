// One override of the command line, after Hydra's grammar: key=value, +key=value (add), ++key=value (add or change),
// ~key and ~key=value (delete). A key is "a.b", a group ("adapter", "optim/schedule") or a group at a package
// ("data@eval_data"). A value is a scalar, 'quoted' or "quoted", [a, b], {a: 1}; unquoted text may hold spaces.
#pragma once

#include <optional>
#include <string>

#include "snell/config/node.h"

namespace snell::config {

struct Override {
  enum class Kind { kChange, kAdd, kForceAdd, kDelete };
  Kind kind = Kind::kChange;
  std::string key;
  std::optional<std::string> package;
  std::optional<Node> value;  // absent only in `~key`
  std::string input;          // as it was typed
  Origin origin() const { return Origin("command line: '" + input + "'"); }
};

// Throws ConfigError that shows the override and the place in it.
Override parse_override(const std::string& input);

}  // namespace snell::config
