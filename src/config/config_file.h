// One config file as composition sees it: its package header, its defaults list, the rest.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "snell/config/node.h"
#include "snell/config/search_path.h"

namespace snell::config {

// One line of a defaults list: `_self_`, `base`, `group: option`, `group@package: option`, `group: [a, b]`,
// `optional group: option`, `override group: option`, `group: null`.
struct DefaultItem {
  bool is_self = false;
  bool is_override = false;
  bool is_optional = false;
  bool is_group = false;               // not so for `base`, whose group is the folder part of its path
  std::string group;                   // as written: "/adapter" is absolute, "adapter" relative to the config's group
  std::optional<std::string> package;  // after '@'
  std::vector<std::string> options;    // empty: null; "???": must be chosen
  Origin origin;
};

struct ConfigFile {
  std::string name;                    // "optim/adamw"
  std::optional<std::string> package;  // of the header `# @package NAME`
  std::vector<DefaultItem> defaults;
  Node body;  // a mapping, without `defaults`
};

// Loads each file once.
class ConfigRepository {
 public:
  explicit ConfigRepository(const ConfigSearchPath& path) : path_(path) {}

  const ConfigSearchPath& path() const { return path_; }
  // nullptr when there is no such file.
  const ConfigFile* load(const std::string& name);
  // What `group=` can be, sorted. Not listed: names that begin with '_' (parts that options share), and subfolders that
  // are groups of their own, because a defaults list of this group names them ("schedule: cosine" in optim/).
  std::vector<std::string> options(const std::string& group);

 private:
  const ConfigSearchPath& path_;
  std::map<std::string, ConfigFile> loaded_;
};

}  // namespace snell::config
