#include "snell/config/node.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "snell/config/scalar.h"
#include "snell/core/error.h"

namespace snell::config {

using core::ConfigError;
using core::str;

std::string Origin::text() const {
  if (!source) return "default";
  return line > 0 ? str(*source, ":", line) : *source;
}

Node Node::null(Origin origin) {
  return scalar(Kind::kNull, "null", 0, std::move(origin));
}

Node Node::mapping(Origin origin) {
  return scalar(Kind::kMapping, "", 0, std::move(origin));
}

Node Node::sequence(Origin origin) {
  return scalar(Kind::kSequence, "", 0, std::move(origin));
}

Node Node::string(std::string text, Origin origin) {
  return scalar(Kind::kString, std::move(text), 0, std::move(origin));
}

Node Node::scalar(Kind kind, std::string text, double number, Origin origin) {
  Node node;
  node.kind_ = kind;
  node.text_ = std::move(text);
  node.number_ = number;
  node.origin_ = std::move(origin);
  return node;
}

std::string Node::canonical() const {
  switch (kind_) {
    case Kind::kNull:
      return "null";
    case Kind::kMissing:
      return "???";
    case Kind::kBool:
      return number_ != 0 ? "true" : "false";
    case Kind::kInt: {
      std::string digits = text_;
      std::erase_if(digits, [](char c) { return c == '_' || c == '+'; });
      return digits;
    }
    case Kind::kFloat:
      return format_double(number_);
    default:
      return text_;
  }
}

std::string Node::describe() const {
  constexpr size_t kShown = 200;
  if (is_mapping()) return "a mapping";
  if (is_sequence()) return "a list";
  std::string shown = is_string() ? text_ : canonical();
  if (shown.size() > kShown) shown = shown.substr(0, kShown) + "...";
  return is_string() ? str("'", shown, "'") : shown;
}

std::vector<std::string> Node::keys() const {
  std::vector<std::string> out;
  for (const auto& entry : entries_) out.push_back(entry.key);
  return out;
}

const Node* Node::find(std::string_view key) const {
  auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.key == key; });
  return found == entries_.end() ? nullptr : &found->value;
}

Node* Node::find(std::string_view key) {
  return const_cast<Node*>(std::as_const(*this).find(key));
}

Node& Node::set(std::string key, Node value) {
  if (Node* old = find(key)) return *old = std::move(value);
  entries_.push_back({std::move(key), std::move(value)});
  return entries_.back().value;
}

bool Node::erase(std::string_view key) {
  return std::erase_if(entries_, [&](const Entry& entry) { return entry.key == key; }) > 0;
}

const Node* Node::child(std::string_view key) const {
  if (is_mapping()) return find(key);
  if (!is_sequence()) return nullptr;
  size_t index = 0;
  auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), index);
  bool whole = error == std::errc() && end == key.data() + key.size();
  return whole && index < items_.size() ? &items_[index] : nullptr;
}

Node* Node::child(std::string_view key) {
  return const_cast<Node*>(std::as_const(*this).child(key));
}

const Node* Node::select(std::string_view path) const {
  const Node* node = this;
  for (const auto& part : split_path(path)) {
    node = node->child(part);
    if (!node) return nullptr;
  }
  return node;
}

size_t Node::weight() const {
  size_t total = 64 + text_.size();
  for (const auto& item : items_) total += item.weight();
  for (const auto& entry : entries_) total += entry.key.size() + entry.value.weight();
  return total;
}

int Node::depth() const {
  int below = 0;
  for (const auto& item : items_) below = std::max(below, item.depth());
  for (const auto& entry : entries_) below = std::max(below, entry.value.depth());
  return below + 1;
}

bool Node::operator==(const Node& other) const {
  if (kind_ != other.kind_ || entries_.size() != other.entries_.size()) return false;
  if (is_sequence()) return items_ == other.items_;
  if (is_scalar()) return canonical() == other.canonical();
  return std::all_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    const Node* theirs = other.find(entry.key);
    return theirs && *theirs == entry.value;
  });
}

std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> parts;
  size_t at = 0;
  while (at < path.size()) {
    bool bracket = path[at] == '[';
    if (bracket) ++at;
    size_t end = bracket ? path.find(']', at) : path.find_first_of(".[", at);
    if (bracket && end == std::string_view::npos) throw ConfigError(str("'", path, "': a '[' is not closed"));
    end = std::min(end, path.size());
    if (end == at) throw ConfigError(str("'", path, "' has an empty part: keys are written as section.key"));
    parts.emplace_back(path.substr(at, end - at));
    at = bracket ? end + 1 : end;
    if (at < path.size() && path[at] == '.' && ++at == path.size())
      throw ConfigError(str("'", path, "' ends with a dot: keys are written as section.key"));
  }
  return parts;
}

std::string join_path(std::string_view path, std::string_view key) {
  return path.empty() ? std::string(key) : str(path, ".", key);
}

std::string did_you_mean(std::string_view word, std::span<const std::string> candidates) {
  std::string near = core::nearest_match(word, candidates);
  return near.empty() ? "" : str(". Did you mean '", near, "'?");
}

}  // namespace snell::config
