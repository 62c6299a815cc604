#include <cmath>
#include <nlohmann/json.hpp>

#include "snell/config/node.h"
#include "snell/config/scalar.h"
#include "snell/core/text.h"

namespace snell::config {

using Json = nlohmann::ordered_json;

static std::string json_quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Whether a plain YAML scalar reads back as this very string; doubtful ones are quoted.
static bool is_plain(const std::string& text) {
  constexpr std::string_view kFirst = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_/.0123456789";
  constexpr std::string_view kInner = "-+@%()= ";
  if (text.empty() || kFirst.find(text[0]) == kFirst.npos || text.back() == ' ') return false;
  for (char c : text)
    if (kFirst.find(c) == kFirst.npos && kInner.find(c) == kInner.npos) return false;
  return text.substr(0, 3) != "..." && typed_scalar(text, Dialect::kFile, {}).is_string();
}

// A literal "${" must come back as itself, so it is written in its escaped form.
static std::string escape_interpolation(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 2, "${") == 0) {
      for (size_t back = i; back > 0 && text[back - 1] == '\\'; --back) out += '\\';
      out += '\\';
    }
    out += text[i];
  }
  return out;
}

static std::string yaml_string(const std::string& text) {
  std::string escaped = escape_interpolation(text);
  return is_plain(escaped) ? escaped : json_quoted(escaped);
}

static bool is_short_list(const Node& node) {
  for (const auto& item : node.items())
    if (!item.is_scalar()) return false;
  return true;
}

static std::string yaml_inline(const Node& node) {
  if (node.is_mapping()) return "{}";
  if (!node.is_sequence()) return node.is_string() ? yaml_string(node.text()) : node.canonical();
  std::vector<std::string> items;
  for (const auto& item : node.items()) items.push_back(yaml_inline(item));
  return core::str("[", core::join(items), "]");
}

static bool is_block(const Node& node) {
  return (node.is_mapping() && !node.entries().empty()) || (node.is_sequence() && !is_short_list(node));
}

static void write_yaml(const Node& node, int indent, std::string& out) {
  const std::string margin(static_cast<size_t>(indent), ' ');
  auto write_value = [&](const Node& value) {
    if (is_block(value)) {
      out += "\n";
      write_yaml(value, indent + 2, out);
    } else {
      out += core::str(" ", yaml_inline(value), "\n");
    }
  };
  for (const auto& entry : node.entries()) {
    out += core::str(margin, is_plain(entry.key) ? entry.key : json_quoted(entry.key), ":");
    write_value(entry.value);
  }
  for (const auto& item : node.items()) {
    out += margin + "-";
    write_value(item);
  }
}

std::string to_yaml(const Node& node) {
  if (!is_block(node)) return yaml_inline(node) + "\n";
  std::string out;
  write_yaml(node, 0, out);
  return out;
}

static Json json_of(const Node& node) {
  switch (node.kind()) {
    case Kind::kNull:
      return nullptr;
    case Kind::kBool:
      return node.number() != 0;
    case Kind::kInt: {
      Json number = Json::parse(node.canonical(), nullptr, false);
      return number.is_number_integer() ? number : Json(node.canonical());
    }
    case Kind::kFloat:
      return std::isfinite(node.number()) ? Json(node.number()) : Json(node.canonical());
    case Kind::kSequence: {
      Json out = Json::array();
      for (const auto& item : node.items()) out.push_back(json_of(item));
      return out;
    }
    case Kind::kMapping: {
      Json out = Json::object();
      for (const auto& entry : node.entries()) out[entry.key] = json_of(entry.value);
      return out;
    }
    default:
      return node.text();
  }
}

std::string to_json(const Node& node, int indent) {
  return json_of(node).dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace snell::config
