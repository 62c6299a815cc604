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

static bool is_short_list(const Node& node) {
  for (const auto& item : node.items())
    if (!item.is_scalar()) return false;
  return true;
}

static bool is_block(const Node& node) {
  return (node.is_mapping() && !node.entries().empty()) || (node.is_sequence() && !is_short_list(node));
}

namespace {

struct YamlWriter {
  bool escape_interpolations;
  std::string out;

  std::string string(const std::string& text) const {
    std::string escaped = escape_interpolations ? escape_interpolation(text) : text;
    bool shown_as_is = !escape_interpolations && text.find("${") != std::string::npos;
    return is_plain(escaped) || shown_as_is ? escaped : json_quoted(escaped);
  }

  std::string inline_value(const Node& node) const {
    if (node.is_mapping()) return "{}";
    if (!node.is_sequence()) return node.is_string() ? string(node.text()) : node.canonical();
    std::vector<std::string> items;
    for (const auto& item : node.items()) items.push_back(inline_value(item));
    return core::str("[", core::join(items), "]");
  }

  void value(const Node& node, int indent) {
    if (is_block(node)) {
      out += "\n";
      block(node, indent + 2);
    } else {
      out += core::str(" ", inline_value(node), "\n");
    }
  }

  void block(const Node& node, int indent) {
    const std::string margin(static_cast<size_t>(indent), ' ');
    for (const auto& entry : node.entries()) {
      out += core::str(margin, is_plain(entry.key) ? entry.key : json_quoted(entry.key), ":");
      value(entry.value, indent);
    }
    for (const auto& item : node.items()) {
      out += margin + "-";
      value(item, indent);
    }
  }
};

}  // namespace

std::string to_yaml(const Node& node, bool escape_interpolations) {
  YamlWriter writer{escape_interpolations, {}};
  if (!is_block(node)) return writer.inline_value(node) + "\n";
  writer.block(node, 0);
  return std::move(writer.out);
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
