// Where configs are: folders that hold config.yaml and one subfolder a group. Earlier folders win, file by file, so
// that a folder of one's own can add options to the shipped groups or replace them.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace snell::config {

struct ConfigSearchPath {
  std::vector<std::filesystem::path> folders;

  // The file of "optim/adamw" (without .yaml), or nullopt. Names that are not plain words joined by '/' are never
  // found, so that no name leads out of the folders.
  std::optional<std::filesystem::path> find(const std::string& config) const;
  bool is_group(const std::string& group) const;
  // The group's files, sorted, without ".yaml"; those of subfolders as "fgvc/cub".
  std::vector<std::string> files(const std::string& group) const;
  // The top-level groups, sorted.
  std::vector<std::string> groups() const;
};

// `config_dir` (the value of --config-dir, "" when not given) and $SNELL_CONFIG_DIR in front of the shipped configs,
// which are beside the program (<exe>/../share/snell/configs, <exe>/../../configs) or in the source tree it was built
// from. Throws ConfigError when a given folder does not exist or none is found.
ConfigSearchPath find_configs(const std::string& config_dir = "");

}  // namespace snell::config
