#include "snell/config/search_path.h"

#include <algorithm>
#include <cstdlib>
#include <set>

#include "snell/core/error.h"

namespace snell::config {

namespace fs = std::filesystem;
using core::ConfigError;
using core::str;

static bool is_plain_name(const std::string& name) {
  if (name.empty() || name.size() > 256 || name.front() == '/' || name.back() == '/') return false;
  char before = '/';
  for (char c : name) {
    bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    if (!word && c != '.' && c != '/') return false;
    if (before == '/' && (c == '.' || c == '/')) return false;
    before = c;
  }
  return true;
}

std::optional<fs::path> ConfigSearchPath::find(const std::string& config) const {
  if (!is_plain_name(config)) return std::nullopt;
  for (const auto& folder : folders) {
    fs::path file = folder / (config + ".yaml");
    std::error_code ignored;
    if (fs::is_regular_file(file, ignored)) return file;
  }
  return std::nullopt;
}

bool ConfigSearchPath::is_group(const std::string& group) const {
  std::error_code ignored;
  return is_plain_name(group) && std::any_of(folders.begin(), folders.end(), [&](const fs::path& folder) {
           return fs::is_directory(folder / group, ignored);
         });
}

std::vector<std::string> ConfigSearchPath::files(const std::string& group) const {
  std::set<std::string> names;
  for (const auto& folder : folders) {
    fs::path root = folder / group;
    std::error_code error;
    for (fs::recursive_directory_iterator it(root, error), end; !error && it != end; it.increment(error)) {
      if (it->path().extension() != ".yaml") continue;
      names.insert(it->path().lexically_relative(root).replace_extension().generic_string());
    }
  }
  return {names.begin(), names.end()};
}

std::vector<std::string> ConfigSearchPath::groups() const {
  std::set<std::string> names;
  for (const auto& folder : folders) {
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
      if (it->is_directory(error) && is_plain_name(it->path().filename().string()))
        names.insert(it->path().filename().string());
  }
  return {names.begin(), names.end()};
}

static std::optional<fs::path> shipped_configs() {
  std::vector<fs::path> candidates;
  std::error_code error;
  fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) {
    candidates.push_back(program.parent_path().parent_path() / "share/snell/configs");
    candidates.push_back(program.parent_path().parent_path().parent_path() / "configs");
  }
  candidates.emplace_back(SNELL_SOURCE_CONFIG_DIR);
  for (const auto& folder : candidates)
    if (fs::is_regular_file(folder / "config.yaml", error)) return folder;
  return std::nullopt;
}

ConfigSearchPath find_configs(const std::string& config_dir) {
  ConfigSearchPath path;
  auto add = [&](const std::string& folder, const char* from) {
    std::error_code ignored;
    if (!fs::is_directory(folder, ignored))
      throw ConfigError(str(from, " names '", folder, "', which is not a folder"));
    path.folders.emplace_back(folder);
  };
  if (!config_dir.empty()) add(config_dir, "--config-dir");
  if (const char* folder = std::getenv("SNELL_CONFIG_DIR"); folder && *folder) add(folder, "SNELL_CONFIG_DIR");
  if (auto shipped = shipped_configs()) path.folders.push_back(*shipped);
  if (path.folders.empty())
    throw ConfigError("no configs found: name the folder that holds config.yaml with --config-dir or SNELL_CONFIG_DIR");
  return path;
}

}  // namespace snell::config
