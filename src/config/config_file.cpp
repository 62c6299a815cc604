#include "config_file.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "snell/config/loader.h"
#include "snell/core/error.h"

namespace snell::config {

namespace fs = std::filesystem;
using core::ConfigError;
using core::str;

// Hydra's header: comment lines "# @key value" at the top of the file.
static std::optional<std::string> package_header(const std::string& text, const std::string& source) {
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::istringstream words(line);
    std::string hash, key, value, more;
    words >> hash;
    if (hash.empty()) continue;
    if (hash == "#") {
      words >> key;
    } else if (hash[0] == '#') {
      key = hash.substr(1);
    }
    if (key.empty() || key[0] != '@') return std::nullopt;
    if (key != "@package") continue;
    if (!(words >> value) || (words >> more))
      throw ConfigError(str(source, ":", number, ": the header is written `# @package NAME`"));
    return value;
  }
  return std::nullopt;
}

static DefaultItem parse_entry_key(std::string key, const Origin& origin) {
  DefaultItem item;
  item.origin = origin;
  std::istringstream words(key);
  std::string word, last;
  while (words >> word) {
    if (!last.empty() && last == "override") {
      item.is_override = true;
    } else if (!last.empty() && last == "optional") {
      item.is_optional = true;
    } else if (!last.empty()) {
      throw ConfigError(str(origin.text(), ": defaults: '", last, "' before '", word,
                            "': only `optional` and `override` may stand there"));
    }
    last = word;
  }
  size_t at = last.find('@');
  if (at != std::string::npos) {
    std::string package = last.substr(at + 1);
    item.package = package == "_here_" ? "" : package;
    last.resize(at);
  }
  item.group = last;
  return item;
}

static DefaultItem parse_default(const Node& node) {
  const Origin& origin = node.origin();
  if (node.is_string()) {
    DefaultItem item = parse_entry_key(node.text(), origin);
    if (item.is_override) throw ConfigError(str(origin.text(), ": defaults: write `override group: option`"));
    item.is_self = item.group == "_self_";
    size_t slash = item.group.rfind('/');
    item.options = {slash == std::string::npos ? item.group : item.group.substr(slash + 1)};
    item.group = slash == std::string::npos ? "" : item.group.substr(0, std::max<size_t>(slash, 1));
    if (item.group == "/") item.group.clear();
    return item;
  }
  if (!node.is_mapping() || node.entries().size() != 1)
    throw ConfigError(str(origin.text(), ": defaults: expected `_self_`, a config's name, or `group: option`; got ",
                          node.describe()));
  const auto& [key, value] = node.entries()[0];
  DefaultItem item = parse_entry_key(key, value.origin());
  item.is_group = true;
  if (item.group.empty()) throw ConfigError(str(origin.text(), ": defaults: an option without a group"));
  auto add = [&](const Node& option) {
    if (!option.is_scalar() || option.kind() == Kind::kNull)
      throw ConfigError(
          str(option.origin().text(), ": defaults: ", key, ": expected an option's name, a list of names, or null"));
    item.options.push_back(option.text());
  };
  if (value.is_sequence()) {
    for (const auto& option : value.items()) add(option);
  } else if (value.kind() != Kind::kNull) {
    add(value);
  }
  return item;
}

static std::string shown_path(const fs::path& file) {
  std::error_code error;
  fs::path here = fs::current_path(error);
  fs::path relative = error ? fs::path() : file.lexically_normal().lexically_relative(here);
  bool inside = !relative.empty() && *relative.begin() != "..";
  return inside ? relative.string() : file.string();
}

std::vector<std::string> ConfigRepository::options(const std::string& group) {
  std::vector<std::string> names = path_.files(group);
  std::set<std::string> nested;
  for (const auto& name : names) {
    try {
      const ConfigFile* config = load(str(group, "/", name));
      if (!config) continue;
      for (const auto& item : config->defaults)
        if (item.is_group && !item.is_override) nested.insert(item.group + "/");
    } catch (
        const ConfigError&) {  // this list is made for an error's text or for --help: a broken file is still listed
    }
  }
  std::erase_if(names, [&](const std::string& name) {
    bool in_nested =
        std::any_of(nested.begin(), nested.end(), [&](const auto& folder) { return name.starts_with(folder); });
    return in_nested || name.starts_with("_") || name.find("/_") != std::string::npos;
  });
  return names;
}

const ConfigFile* ConfigRepository::load(const std::string& name) {
  if (auto found = loaded_.find(name); found != loaded_.end()) return &found->second;
  auto file = path_.find(name);
  if (!file) return nullptr;
  ConfigFile config;
  config.name = name;
  std::string source = shown_path(*file), text = read_config_file(*file);
  config.body = parse_yaml(text, source);
  config.package = package_header(text, source);
  if (!config.body.is_mapping())
    throw ConfigError(
        str(config.body.origin().text(), ": expected a mapping of settings; got ", config.body.describe()));
  if (const Node* defaults = config.body.find("defaults")) {
    bool seen_override = false;
    if (!defaults->is_sequence()) throw ConfigError(str(defaults->origin().text(), ": defaults must be a list"));
    for (const auto& node : defaults->items()) {
      config.defaults.push_back(parse_default(node));
      const DefaultItem& item = config.defaults.back();
      if (seen_override && !item.is_override && !item.is_self)
        throw ConfigError(str(item.origin.text(), ": defaults: `override` entries stand at the end of the list"));
      seen_override = seen_override || item.is_override;
    }
    config.body.erase("defaults");
  }
  return &loaded_.emplace(name, std::move(config)).first->second;
}

}  // namespace snell::config
