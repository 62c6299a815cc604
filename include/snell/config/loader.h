// Reads one YAML file into a Node. Hostile files are refused, not survived by luck: duplicate keys, self-referring
// anchors, alias bombs, nesting deeper than kMaxDepth, files larger than kMaxFileBytes.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "snell/config/node.h"

namespace snell::config {

// `source` is the name that errors use. An empty document is an empty mapping. Throws ConfigError "source:line: ...".
Node parse_yaml(std::string_view text, const std::string& source);

// The text of the file; ConfigError when it cannot be read or is too large.
std::string read_config_file(const std::filesystem::path& file);

// A whole file, its interpolations resolved: how a saved config.yaml, or any file that stands alone, is read back.
Node load_yaml_file(const std::filesystem::path& file);

}  // namespace snell::config
