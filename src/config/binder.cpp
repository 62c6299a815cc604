#include "snell/config/binder.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "snell/config/node.h"
#include "snell/config/scalar.h"
#include "snell/core/error.h"

namespace snell::config {

using core::ConfigError;
using core::str;

namespace {

// What is being read, for the errors.
struct Place {
  std::string key;  // "optim.lr"
  const Limits& limits;
};

[[noreturn]] void refuse(const Place& place, const Node& node, const std::string& expected) {
  if (node.kind() == Kind::kMissing)
    throw ConfigError(str(place.key, " must be set: ", node.origin().text(), " says ??? (mandatory). Expected ",
                          expected, "; write ", place.key, "=VALUE"));
  throw ConfigError(str(place.key, " = ", node.describe(), " (", node.origin().text(), "): expected ", expected));
}

std::string with_limits(std::string type, const Limits& limits) {
  std::string text = limits.text();
  return text.empty() ? type : str(type, " ", text);
}

void check_number(const Place& place, const Node& node, double value, const std::string& type) {
  const Limits& limits = place.limits;
  bool above = !limits.low || (limits.low_open ? value > *limits.low : value >= *limits.low);
  bool below = !limits.high || (limits.high_open ? value < *limits.high : value <= *limits.high);
  if (!above || !below) refuse(place, node, with_limits(type, limits));
}

template <class Int>
void read_integer(const Place& place, const Node& node, Int& value, const std::string& type) {
  if (node.kind() != Kind::kInt) refuse(place, node, with_limits(type, place.limits));
  std::string digits = node.canonical();
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size())
    refuse(place, node,
           str(with_limits(type, place.limits), ", between ", std::numeric_limits<Int>::min(), " and ",
               std::numeric_limits<Int>::max()));
  check_number(place, node, static_cast<double>(value), type);
}

std::string type_name(const bool&) {
  return "true or false";
}
std::string type_name(const int64_t&) {
  return "an integer";
}
std::string type_name(const uint64_t&) {
  return "a non-negative integer";
}
std::string type_name(const double&) {
  return "a number";
}
std::string type_name(const std::string&) {
  return "a string";
}
std::string type_name(const std::optional<int64_t>&) {
  return "an integer or null";
}
std::string type_name(const std::optional<double>&) {
  return "a number or null";
}
std::string type_name(const std::vector<int64_t>&) {
  return "a list of integers";
}
std::string type_name(const std::vector<double>&) {
  return "a list of numbers";
}
std::string type_name(const std::vector<std::string>&) {
  return "a list of strings";
}

void read(const Place& place, const Node& node, bool& value) {
  // `a=yes` is a string on the command line (Hydra's grammar) and true in a file (YAML 1.1): a bool takes both.
  Node typed = node.is_string() ? typed_scalar(node.text(), Dialect::kFile, node.origin()) : node;
  if (typed.kind() != Kind::kBool) refuse(place, node, type_name(value));
  value = typed.number() != 0;
}

void read(const Place& place, const Node& node, int64_t& value) {
  read_integer(place, node, value, type_name(value));
}

void read(const Place& place, const Node& node, uint64_t& value) {
  read_integer(place, node, value, type_name(value));
}

void read(const Place& place, const Node& node, double& value) {
  if (node.kind() != Kind::kInt && node.kind() != Kind::kFloat)
    refuse(place, node, with_limits(type_name(value), place.limits));
  bool overflowed = std::isinf(node.number()) && node.text().find_first_of("0123456789") != std::string::npos;
  if (overflowed || std::isnan(node.number()))
    throw ConfigError(str(place.key, " = ", node.text(), " (", node.origin().text(), "): expected ",
                          with_limits(type_name(value), place.limits), " that fits a double"));
  check_number(place, node, node.number(), type_name(value));
  value = node.number();
}

void read(const Place& place, const Node& node, std::string& value) {
  bool scalar = node.is_scalar() && node.kind() != Kind::kNull && node.kind() != Kind::kMissing;
  const auto& choices = place.limits.choices;
  if (!scalar) refuse(place, node, choices.empty() ? type_name(value) : place.limits.text());
  if (!choices.empty() && std::find(choices.begin(), choices.end(), node.text()) == choices.end())
    refuse(place, node, str(place.limits.text(), did_you_mean(node.text(), choices)));
  value = node.text();
}

template <class T>
void read(const Place& place, const Node& node, std::optional<T>& value) {
  if (node.kind() == Kind::kNull) {
    value.reset();
    return;
  }
  T inner{};
  read(place, node, inner);
  value = inner;
}

template <class T>
void read(const Place& place, const Node& node, std::vector<T>& value) {
  if (!node.is_sequence()) refuse(place, node, with_limits(type_name(value), place.limits));
  std::vector<T> out;
  for (size_t i = 0; i < node.items().size(); ++i) {
    T element{};
    read(Place{str(place.key, "[", i, "]"), place.limits}, node.items()[i], element);
    out.push_back(std::move(element));
  }
  value = std::move(out);
}

Node to_node(bool value) {
  return Node::scalar(Kind::kBool, "", value, {});
}
Node to_node(int64_t value) {
  return Node::scalar(Kind::kInt, std::to_string(value), 0, {});
}
Node to_node(uint64_t value) {
  return Node::scalar(Kind::kInt, std::to_string(value), 0, {});
}
Node to_node(double value) {
  return Node::scalar(Kind::kFloat, "", value, {});
}
Node to_node(const std::string& value) {
  return Node::string(value, {});
}
template <class T>
Node to_node(const std::optional<T>& value) {
  return value ? to_node(*value) : Node::null({});
}
template <class T>
Node to_node(const std::vector<T>& values) {
  Node out = Node::sequence({});
  for (const auto& value : values) out.append(to_node(value));
  return out;
}

}  // namespace

// One a bind_section, shared by its nested binders.
struct Binder::Shared {
  struct Unknown {
    std::string section, key, origin;
  };
  bool documentation_only = false;
  std::vector<FieldDoc> fields;
  std::vector<std::string> keys;  // full, of fields and sections
  std::vector<Unknown> unknown;
};

struct Binder::State {
  const Node* node = nullptr;  // nullptr: the section is absent, all defaults
  std::string path;
  std::shared_ptr<Shared> shared;
  bool outermost = false;
  std::vector<std::string> known;
};

Binder::Binder(std::unique_ptr<State> state) : state_(std::move(state)) {}
Binder::~Binder() = default;

Binder::Binder(const Node& section, std::string path) : state_(std::make_unique<State>()) {
  if (!section.is_mapping())
    throw ConfigError(str(path.empty() ? "the config" : path, " = ", section.describe(), " (", section.origin().text(),
                          "): expected a mapping of settings"));
  state_->node = &section;
  state_->path = std::move(path);
  state_->shared = std::make_shared<Shared>();
  state_->outermost = true;
}

std::unique_ptr<Binder> Binder::for_documentation(std::string path) {
  auto state = std::make_unique<State>();
  state->path = std::move(path);
  state->shared = std::make_shared<Shared>();
  state->shared->documentation_only = true;
  state->outermost = true;
  return std::unique_ptr<Binder>(new Binder(std::move(state)));
}

const std::vector<FieldDoc>& Binder::documentation() const {
  return state_->shared->fields;
}

template <class T>
void Binder::read_field(std::string_view key, T& value, std::string_view doc, const Limits& limits) {
  std::string full = join_path(state_->path, key);
  state_->known.emplace_back(key);
  state_->shared->keys.push_back(full);
  state_->shared->fields.push_back({full, type_name(value), to_json(to_node(value)), std::string(doc), limits.text()});
  const Node* node = state_->node ? state_->node->find(key) : nullptr;
  if (node) read(Place{full, limits}, *node, value);
}

#define SNELL_DEFINE_FIELD(TYPE)                                                                      \
  void Binder::field(std::string_view key, TYPE& value, std::string_view doc, const Limits& limits) { \
    read_field(key, value, doc, limits);                                                              \
  }
SNELL_DEFINE_FIELD(bool)
SNELL_DEFINE_FIELD(int64_t)
SNELL_DEFINE_FIELD(uint64_t)
SNELL_DEFINE_FIELD(double)
SNELL_DEFINE_FIELD(std::string)
SNELL_DEFINE_FIELD(std::optional<int64_t>)
SNELL_DEFINE_FIELD(std::optional<double>)
SNELL_DEFINE_FIELD(std::vector<int64_t>)
SNELL_DEFINE_FIELD(std::vector<double>)
SNELL_DEFINE_FIELD(std::vector<std::string>)
#undef SNELL_DEFINE_FIELD

std::unique_ptr<Binder> Binder::enter(std::string_view key) {
  auto inner = std::make_unique<State>();
  inner->path = join_path(state_->path, key);
  inner->shared = state_->shared;
  state_->known.emplace_back(key);
  state_->shared->keys.push_back(inner->path);
  const Node* node = state_->node ? state_->node->find(key) : nullptr;
  if (node && node->kind() != Kind::kNull) {
    if (!node->is_mapping()) refuse(Place{inner->path, {}}, *node, "a mapping of settings");
    inner->node = node;
  }
  return std::unique_ptr<Binder>(new Binder(std::move(inner)));
}

void Binder::require(bool holds, std::string_view key, const std::string& message) {
  if (holds || state_->shared->documentation_only) return;
  const Node* node = state_->node ? state_->node->find(key) : nullptr;
  std::string value = node ? str(" = ", node->describe(), " (", node->origin().text(), ")") : std::string();
  throw ConfigError(str(join_path(state_->path, key), value, ": ", message));
}

void Binder::finish() {
  Shared& shared = *state_->shared;
  if (state_->node) {
    for (const auto& entry : state_->node->entries()) {
      const auto& known = state_->known;
      if (std::find(known.begin(), known.end(), entry.key) == known.end())
        shared.unknown.push_back({state_->path, entry.key, entry.value.origin().text()});
    }
  }
  if (!state_->outermost || shared.unknown.empty()) return;

  std::string message;
  for (const auto& unknown : shared.unknown) {
    std::string full = join_path(unknown.section, unknown.key);
    std::vector<std::string> siblings, elsewhere;
    for (const auto& key : shared.keys) {
      size_t dot = key.rfind('.');
      std::string section = dot == std::string::npos ? "" : key.substr(0, dot);
      std::string name = dot == std::string::npos ? key : key.substr(dot + 1);
      if (section == unknown.section) siblings.push_back(name);
      if (name == unknown.key) elsewhere.push_back(key);
    }
    std::string near = core::nearest_match(unknown.key, siblings);
    std::string hint;
    if (!elsewhere.empty())
      hint = str(". There is ", core::join(elsewhere, " and "));
    else if (!near.empty())
      hint = str(". Did you mean '", join_path(unknown.section, near), "'?");
    message += str(message.empty() ? "" : "\n", "unknown key ", full, " (", unknown.origin, "); ",
                   unknown.section.empty() ? "the top level" : unknown.section, " has: ", core::join(siblings), hint);
  }
  throw ConfigError(message);
}

}  // namespace snell::config
