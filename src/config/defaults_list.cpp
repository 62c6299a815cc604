#include "defaults_list.h"

#include <algorithm>
#include <set>

#include "interpolation.h"
#include "snell/core/error.h"

namespace snell::config {

using core::ConfigError;
using core::str;

namespace {

constexpr size_t kMaxConfigs = 500;  // of one composition

std::string with_dots(std::string group) {
  std::replace(group.begin(), group.end(), '/', '.');
  return group;
}

// A choice of a group's option from the command line or from an `override` entry.
struct Choice {
  std::vector<std::string> options;
  std::string origin;
  bool from_command_line = false;
  bool used = false;
};

// A config being expanded, or an entry of its list in the place where it stands.
struct Site {
  std::string group_path;      // "optim", "" for the top level
  std::string parent_package;  // of the config whose list names it
  std::string relative_group;  // as written, without a leading slash
  std::optional<std::string> package;

  // Hydra: the header is absolute, `@package` and the group's path are relative to the parent's package.
  std::string final_package(const std::optional<std::string>& header) const {
    std::string own = package ? *package : header ? *header : with_dots(relative_group);
    if (!package && header && own != "_global_" && !own.starts_with("_global_."))
      own = own.empty() ? "_global_" : "_global_." + own;
    std::string full = parent_package.empty() ? own : own.empty() ? parent_package : str(parent_package, ".", own);
    size_t global = full.rfind("_global_");
    if (global == std::string::npos) return full;
    size_t rest = global + std::string_view("_global_.").size();
    return rest < full.size() ? full.substr(rest) : "";
  }

  // What `group=option` on the command line must be called: with @package only where it is not the usual one.
  std::string override_key() const {
    std::string own = final_package(std::nullopt);
    if (own == with_dots(group_path)) return group_path;
    return str(group_path, "@", own.empty() ? "_global_" : own);
  }
};

class Expander {
 public:
  Expander(ConfigRepository& repository, const std::vector<Override>& overrides, bool may_miss)
      : repository_(repository), may_miss_(may_miss) {
    for (const auto& item : overrides) sort_in(item);
  }

  DefaultsList run(const std::string& primary) {
    const ConfigFile* config = repository_.load(primary);
    if (!config) throw ConfigError(str("there is no config '", primary, ".yaml' in ", folders()));
    expand(*config, Site{}, true, list_.steps);
    check_all_used();
    return std::move(list_);
  }

 private:
  std::string folders() const {
    std::vector<std::string> names;
    for (const auto& folder : repository_.path().folders) names.push_back(folder.string());
    return core::join(names);
  }

  static std::string key_of(const Override& item) {
    return item.package ? str(item.key, "@", item.package->empty() ? "_global_" : *item.package) : item.key;
  }

  // Group overrides become choices, additions or deletions; the others are kept for the composed config.
  void sort_in(const Override& item) {
    bool is_group = repository_.path().is_group(item.key);
    if (!is_group && (item.package || item.key.find('/') != std::string::npos)) {
      auto groups = repository_.path().groups();
      throw ConfigError(str(item.origin().text(), ": there is no group '", item.key, "'; groups: ", core::join(groups),
                            did_you_mean(item.key, groups)));
    }
    if (!is_group || (item.value && item.value->is_mapping())) {
      list_.values.push_back(item);
      return;
    }
    if (item.kind == Override::Kind::kForceAdd)
      throw ConfigError(str(item.origin().text(), ": '++' is for settings; a group takes ", item.key, "=option or +",
                            item.key, "=option"));
    std::vector<std::string> options = options_of(item);
    if (item.kind == Override::Kind::kDelete) {
      deletions_[key_of(item)] = {options, item.origin().text(), true, false};
    } else if (item.kind == Override::Kind::kAdd) {
      DefaultItem added;
      added.is_group = true;
      added.group = item.key;
      added.package = item.package;
      added.options = options;
      added.origin = item.origin();
      additions_.push_back(added);
    } else {
      choices_[key_of(item)] = {options, item.origin().text(), true, false};
    }
  }

  static std::vector<std::string> options_of(const Override& item) {
    std::vector<std::string> options;
    if (!item.value || item.value->kind() == Kind::kNull) return options;
    const Node& value = *item.value;
    std::vector<Node> nodes = value.is_sequence() ? value.items() : std::vector<Node>{value};
    for (const auto& node : nodes) {
      if (!node.is_scalar() || node.text().empty())
        throw ConfigError(str(item.origin().text(), ": expected the name of an option of '", item.key, "'"));
      options.push_back(node.text());
    }
    return options;
  }

  void expand(const ConfigFile& config, const Site& site, bool is_primary, std::vector<ConfigStep>& out) {
    if (std::find(active_.begin(), active_.end(), &config) != active_.end())
      throw ConfigError(
          str(config.body.origin().text(), ": the defaults list of '", config.name, "' leads back to itself"));
    if (++num_configs_ > kMaxConfigs)
      throw ConfigError(str("the defaults lists name more than ", kMaxConfigs, " configs"));
    active_.push_back(&config);

    std::string package = site.final_package(config.package);
    std::vector<DefaultItem> items = config.defaults;
    if (is_primary) items.insert(items.end(), additions_.begin(), additions_.end());
    add_self(config, items);
    take_overrides(items, site.group_path, package);

    std::vector<std::vector<ConfigStep>> children(items.size());
    std::vector<size_t> deferred;
    for (size_t i = items.size(); i-- > 0;) {
      if (items[i].is_override) continue;
      if (items[i].is_self) {
        children[i] = {{&config, package}};
      } else if (!expand_item(items[i], site.group_path, package, children[i])) {
        deferred.push_back(i);
      }
    }
    // `group: ${other}` waits until the other choices are known.
    for (size_t i : deferred) {
      for (auto& option : items[i].options) option = substitute(option, items[i]);
      expand_item(items[i], site.group_path, package, children[i]);
    }
    for (auto& child : children) out.insert(out.end(), child.begin(), child.end());
    active_.pop_back();
  }

  // Without `_self_`, a config's own values come after its defaults.
  static void add_self(const ConfigFile& config, std::vector<DefaultItem>& items) {
    auto num_self = std::count_if(items.begin(), items.end(), [](const DefaultItem& item) { return item.is_self; });
    if (num_self > 1)
      throw ConfigError(str(config.body.origin().text(), ": `_self_` stands twice in the defaults list"));
    if (num_self == 1) return;
    DefaultItem self;
    self.is_self = true;
    items.push_back(self);
  }

  static Site site_of(const DefaultItem& item, const std::string& base, const std::string& package) {
    Site site;
    bool absolute = item.group.starts_with("/");
    site.relative_group = absolute ? item.group.substr(1) : item.group;
    site.group_path = absolute || base.empty()      ? site.relative_group
                      : site.relative_group.empty() ? base
                                                    : str(base, "/", site.relative_group);
    site.parent_package = package;
    site.package = item.package;
    if (size_t at = site.package ? site.package->find("_group_") : std::string::npos; at != std::string::npos)
      site.package = "_global_." + std::string(*site.package).replace(at, 7, with_dots(site.group_path));
    return site;
  }

  void take_overrides(const std::vector<DefaultItem>& items, const std::string& base, const std::string& package) {
    for (const auto& item : items) {
      if (!item.is_override) continue;
      choices_.emplace(site_of(item, base, package).override_key(),
                       Choice{item.options, item.origin.text(), false, false});
    }
  }

  // False: an interpolated option, to be expanded later.
  bool expand_item(DefaultItem& item, const std::string& base, const std::string& package,
                   std::vector<ConfigStep>& out) {
    Site site = site_of(item, base, package);
    std::string key = site.override_key();
    if (item.is_group) {
      if (auto choice = choices_.find(key); choice != choices_.end()) {
        item.options = choice->second.options;
        choice->second.used = true;
      }
      if (auto gone = deletions_.find(key); gone != deletions_.end()) {
        if (gone->second.options.empty() || gone->second.options == item.options) {
          gone->second.used = true;
          return true;
        }
      }
    }
    for (const auto& option : item.options)
      if (has_interpolation(option)) return false;
    if (item.is_group) note_choice(key, site.group_path, item);
    for (const auto& option : item.options) expand_option(item, site, option, out);
    return true;
  }

  void note_choice(const std::string& key, const std::string& group, const DefaultItem& item) {
    std::string option = item.options.empty() ? "null" : core::join(item.options);
    auto [known, is_new] = list_.choices.emplace(key, option);
    if (!is_new)
      throw ConfigError(str(item.origin.text(), ": ", key, ": ", option, " is a second choice for '", key,
                            "', which is already ", known->second, ". To change a choice write `override /", group,
                            ": ", option, "`"));
  }

  void expand_option(const DefaultItem& item, const Site& site, const std::string& option,
                     std::vector<ConfigStep>& out) {
    if (option == "???" && may_miss_) return;
    if (option == "???")
      throw ConfigError(str(site.override_key(), " must be chosen (", item.origin.text(), "): write ",
                            site.override_key(),
                            "=OPTION. Options: ", core::join(repository_.options(site.group_path))));
    std::string name = site.group_path.empty() ? option : str(site.group_path, "/", option);
    const ConfigFile* config = repository_.load(name);
    if (config) {
      expand(*config, site, false, out);
    } else if (!item.is_optional) {
      refuse_option(item, site, option);
    }
  }

  [[noreturn]] void refuse_option(const DefaultItem& item, const Site& site, const std::string& option) {
    auto choice = choices_.find(site.override_key());
    std::string origin = item.is_group && choice != choices_.end() ? choice->second.origin : item.origin.text();
    auto options = repository_.options(site.group_path);
    std::string what = site.group_path.empty() ? "config" : str("option of '", site.group_path, "'");
    std::string list = options.empty() ? str("there is no such group in ", folders())
                                       : str("options: ", core::join(options), option_hint(option, options));
    throw ConfigError(str(origin, ": '", option, "' is no ", what, "; ", list));
  }

  // "cub" is near "fgvc/cub" as well.
  static std::string option_hint(const std::string& option, const std::vector<std::string>& options) {
    for (const auto& candidate : options)
      if (candidate.ends_with("/" + option)) return str(". Did you mean '", candidate, "'?");
    return did_you_mean(option, options);
  }

  std::string substitute(const std::string& text, const DefaultItem& item) const {
    std::string out;
    for (const auto& part : split_interpolations(text)) {
      if (!part.is_interpolation) {
        out += part.text;
        continue;
      }
      auto choice = list_.choices.find(part.text);
      if (choice == list_.choices.end())
        throw ConfigError(str(item.origin.text(), ": '", text, "': no group '", part.text,
                              "' has been chosen; chosen: ", core::join(chosen_groups())));
      out += choice->second;
    }
    return out;
  }

  std::vector<std::string> chosen_groups() const {
    std::vector<std::string> groups;
    for (const auto& choice : list_.choices) groups.push_back(choice.first);
    return groups;
  }

  void check_all_used() const {
    auto groups = chosen_groups();
    for (const auto& [key, choice] : choices_) {
      if (choice.used) continue;
      std::string add = choice.from_command_line
                            ? str(". To add it to the defaults list write +", key, "=", core::join(choice.options))
                            : std::string();
      throw ConfigError(str(choice.origin, ": no defaults list names the group '", key,
                            "', so it cannot be overridden; ", "groups: ", core::join(groups),
                            did_you_mean(key, groups), add));
    }
    for (const auto& [key, deletion] : deletions_)
      if (!deletion.used)
        throw ConfigError(str(deletion.origin, ": nothing to delete: ",
                              deletion.options.empty() ? key : str(key, "=", core::join(deletion.options)),
                              " is not in the defaults list; groups: ", core::join(groups), did_you_mean(key, groups)));
  }

  ConfigRepository& repository_;
  DefaultsList list_;
  std::map<std::string, Choice> choices_, deletions_;
  std::vector<DefaultItem> additions_;
  std::vector<const ConfigFile*> active_;
  size_t num_configs_ = 0;
  bool may_miss_ = false;
};

}  // namespace

DefaultsList expand_defaults(ConfigRepository& repository, const std::string& primary,
                             const std::vector<Override>& overrides, bool may_miss) {
  return Expander(repository, overrides, may_miss).run(primary);
}

}  // namespace snell::config
