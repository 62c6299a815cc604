#include "snell/config/compose.h"

#include <map>
#include <set>
#include <sstream>

#include "config_file.h"
#include "defaults_list.h"
#include "snell/config/override.h"
#include "snell/config/resolve.h"
#include "snell/core/error.h"
#include "snell/core/log.h"

namespace snell::config {

using core::ConfigError;
using core::str;

namespace {

// OmegaConf.merge: mappings are merged key by key, everything else is replaced; an unset mandatory value does not
// replace a value that is there.
void merge(Node& into, const Node& from) {
  for (const auto& entry : from.entries()) {
    Node* old = into.find(entry.key);
    if (!old) {
      into.set(entry.key, entry.value);
    } else if (old->is_mapping() && entry.value.is_mapping()) {
      merge(*old, entry.value);
    } else if (entry.value.kind() != Kind::kMissing) {
      *old = entry.value;
    }
  }
}

void merge_step(Node& root, const ConfigStep& step) {
  Node* at = &root;
  for (const auto& part : split_path(step.package)) {
    Node* next = at->find(part);
    if (!next || !next->is_mapping()) next = &at->set(part, Node::mapping(step.config->body.origin()));
    at = next;
  }
  merge(*at, step.config->body);
}

Node merge_steps(const std::vector<ConfigStep>& steps) {
  Node root = Node::mapping({});
  for (const auto& step : steps) merge_step(root, step);
  return root;
}

class OverrideApplier {
 public:
  explicit OverrideApplier(Node& root) : root_(root) {}

  void apply(const Override& item) {
    std::vector<std::string> path = split_path(item.key);
    if (path.size() > static_cast<size_t>(kMaxDepth) / 2)
      fail(item, str("a key has at most ", kMaxDepth / 2, " parts"));
    switch (item.kind) {
      case Override::Kind::kDelete:
        return erase(item, path);
      case Override::Kind::kAdd: {
        const Node* old = root_.select(item.key);
        bool is_free = !old || old->kind() == Kind::kNull || old->kind() == Kind::kMissing;
        if (!is_free && item.value->is_scalar())
          fail(item, str("'", item.key, "' is already there (", old->origin().text(), "); write ", item.key,
                         "=... to change it"));
        return set(item, path, true);
      }
      default:
        return set(item, path, item.kind == Override::Kind::kForceAdd);
    }
  }

 private:
  [[noreturn]] static void fail(const Override& item, const std::string& message) {
    throw ConfigError(str(item.origin().text(), ": ", message));
  }

  [[noreturn]] void fail_unknown(const Override& item, const Node& parent, const std::string& path,
                                 const std::string& key) const {
    std::string where = path.empty() ? "the top level" : str("'", path, "'");
    if (!parent.is_mapping() && !parent.is_sequence())
      fail(item, str(where, " is ", parent.describe(), " (", parent.origin().text(), "), which has no keys"));
    if (parent.is_sequence()) fail(item, str(where, " is a list of ", parent.items().size(), " elements"));
    std::vector<std::string> keys = parent.keys(), elsewhere;
    find_key(root_, "", key, elsewhere);
    std::string hint = elsewhere.empty() ? did_you_mean(key, keys) : str(". There is ", core::join(elsewhere, " and "));
    std::string add = item.kind == Override::Kind::kDelete ? "" : str(" To add a new key write +", item.input);
    fail(item, str("unknown key '", join_path(path, key), "'; ", where, " has: ", core::join(keys), hint,
                   add.empty()           ? ""
                   : hint.ends_with("?") ? add
                                         : "." + add));
  }

  // Full keys whose last part is `key`, in mappings.
  static void find_key(const Node& node, const std::string& path, const std::string& key,
                       std::vector<std::string>& out) {
    for (const auto& entry : node.entries()) {
      if (entry.key == key && out.size() < 3) out.push_back(join_path(path, key));
      find_key(entry.value, join_path(path, entry.key), key, out);
    }
  }

  // The node that holds the path's last part.
  Node& parent_of(const Override& item, const std::vector<std::string>& path, bool may_add) {
    Node* at = &root_;
    std::string place;
    for (size_t i = 0; i + 1 < path.size(); ++i) {
      Node* next = at->child(path[i]);
      bool is_free = !next || next->kind() == Kind::kNull || next->kind() == Kind::kMissing;
      if (is_free && may_add && at->is_mapping()) next = &at->set(path[i], Node::mapping(item.origin()));
      if (!next) fail_unknown(item, *at, place, path[i]);
      place = join_path(place, path[i]);
      at = next;
    }
    return *at;
  }

  void set(const Override& item, const std::vector<std::string>& path, bool may_add) {
    Node& parent = parent_of(item, path, may_add);
    std::string place;
    for (size_t i = 0; i + 1 < path.size(); ++i) place = join_path(place, path[i]);
    Node* old = parent.child(path.back());
    if (!old) {
      if (!may_add || !parent.is_mapping()) fail_unknown(item, parent, place, path.back());
      parent.set(path.back(), *item.value);
    } else if (old->is_mapping() && item.value->is_mapping()) {
      merge_value(item, *old, *item.value, join_path(place, path.back()), may_add);
    } else {
      *old = *item.value;
    }
  }

  // A dictionary is merged; without '+' it brings no new keys.
  void merge_value(const Override& item, Node& into, const Node& from, const std::string& place, bool may_add) {
    for (const auto& entry : from.entries()) {
      Node* old = into.find(entry.key);
      if (!old && !may_add) fail_unknown(item, into, place, entry.key);
      if (old && old->is_mapping() && entry.value.is_mapping())
        merge_value(item, *old, entry.value, join_path(place, entry.key), may_add);
      else
        into.set(entry.key, entry.value);
    }
  }

  void erase(const Override& item, const std::vector<std::string>& path) {
    Node& parent = parent_of(item, path, false);
    std::string place;
    for (size_t i = 0; i + 1 < path.size(); ++i) place = join_path(place, path[i]);
    const Node* old = parent.find(path.back());
    if (!old) fail_unknown(item, parent, place, path.back());
    if (item.value && !(*item.value == *old))
      fail(item,
           str("'", item.key, "' is ", old->describe(), " (", old->origin().text(), "), not ", item.value->describe()));
    parent.erase(path.back());
  }

  Node& root_;
};

}  // namespace

Composed compose(const ConfigSearchPath& path, const std::string& primary, std::span<const std::string> overrides) {
  std::vector<Override> parsed;
  for (const auto& text : overrides) parsed.push_back(parse_override(text));

  ConfigRepository repository(path);
  DefaultsList list = expand_defaults(repository, primary, parsed);
  Node root = merge_steps(list.steps);
  if (root.erase("hydra"))
    core::log_warning("the config has a section 'hydra', which configures Hydra itself and has no effect here");
  OverrideApplier applier(root);
  for (const auto& item : list.values) applier.apply(item);

  Composed composed;
  composed.root = resolve_interpolations(root);
  composed.overrides.assign(overrides.begin(), overrides.end());
  composed.choices = std::move(list.choices);
  return composed;
}

std::string help_text(const ConfigSearchPath& path, const std::string& primary) {
  ConfigRepository repository(path);
  DefaultsList list = expand_defaults(repository, primary, {}, true);
  std::set<std::string> groups;
  for (const auto& group : path.groups()) groups.insert(group);
  for (const auto& choice : list.choices) groups.insert(choice.first.substr(0, choice.first.find('@')));

  std::string out = "Groups: choose an option with group=option\n";
  for (const auto& group : groups) {
    auto chosen = list.choices.find(group);
    std::string choice = chosen == list.choices.end() ? "null" : chosen->second;
    out += str("  ", group, " (", choice == "???" ? "must be chosen" : choice, ")\n");
    std::map<std::string, std::vector<std::string>> folders;
    for (const auto& option : repository.options(group)) {
      size_t slash = option.rfind('/') + 1;  // 0 without a slash
      folders[option.substr(0, slash)].push_back(option.substr(slash));
    }
    for (const auto& [folder, options] : folders)
      out += str("    ", folder, folder.empty() ? "" : " ", core::join(options), "\n");
  }
  // Unresolved: a default may refer to an option that is still to be chosen.
  std::istringstream lines(to_yaml(merge_steps(list.steps), false));
  out += "\nDefaults: change one with key=value\n";
  for (std::string line; std::getline(lines, line);) out += str("  ", line, "\n");
  return out;
}

}  // namespace snell::config
