#include "snell/config/sweep.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "snell/config/scalar.h"
#include "snell/core/error.h"
#include "snell/core/hash.h"
#include "snell/core/text.h"

namespace snell::config {
namespace {

using core::ConfigError;
using core::str;

constexpr size_t kMaxNameLength = 120;  // a file name has at most 255 bytes
constexpr size_t kHashDigits = 8;

bool is_word_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// The pieces between characters for which `splits` holds, outside quotes and brackets.
template <class Predicate>
std::vector<std::string> split_outside(std::string_view text, Predicate splits) {
  std::vector<std::string> out{""};
  int depth = 0;
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\' && i + 1 < text.size()) {
      out.back() += c;
      out.back() += text[++i];
      continue;
    }
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (std::string_view("[{(").find(c) != std::string_view::npos) {
      ++depth;
    } else if (std::string_view("]})").find(c) != std::string_view::npos) {
      --depth;
    } else if (depth <= 0 && splits(c)) {
      out.emplace_back();
      continue;
    }
    out.back() += c;
  }
  return out;
}

// "key=a,b" as {"key=a", "key=b"}; anything else is itself.
std::vector<std::string> choices_of(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || text.starts_with("~")) return {text};
  const std::string key = text.substr(0, equals + 1);
  std::vector<std::string> out;
  for (const std::string& value : split_outside(text.substr(equals + 1), [](char c) { return c == ','; })) {
    out.push_back(key + value);
  }
  if (out.size() > 1 && std::find(out.begin(), out.end(), key) != out.end()) {
    throw ConfigError(str("command line: '", text, "': an empty value between commas; write '' for empty text"));
  }
  return out;
}

std::vector<std::string> words_of(const std::string& line) {
  auto words = split_outside(line, [](char c) { return c == ' ' || c == '\t' || c == '\r'; });
  std::erase(words, "");
  return words;
}

std::string name_of(const std::vector<std::string>& varied) {
  const std::string text = core::join(varied, ",");
  std::string name;
  for (const char c : text) {
    name += is_word_char(c) || std::string_view("._=+,-").find(c) != std::string_view::npos ? c : '_';
  }
  if (!is_word_char(name.front())) name.front() = '_';
  if (name.size() > kMaxNameLength) name.resize(kMaxNameLength);
  if (name != text) name += "-" + core::hash128(text.data(), text.size()).hex().substr(0, kHashDigits);
  return name;
}

}  // namespace

Sweep expand_sweep(std::span<const std::string> overrides, std::span<const std::string> lines) {
  Sweep sweep;
  std::vector<std::vector<std::string>> varied;  // a point each: what sets it apart
  for (const std::string& line : lines) {
    auto words = words_of(line);
    if (!words.empty() && !words.front().starts_with("#")) varied.push_back(std::move(words));
  }
  if (!lines.empty() && varied.empty()) throw ConfigError("the sweep's file holds no line with overrides");
  const bool has_lines = !varied.empty();
  if (!has_lines) varied.emplace_back();
  for (const std::string& text : overrides) {
    const auto choices = choices_of(text);
    if (choices.size() == 1) {
      sweep.fixed.push_back(text);
      continue;
    }
    std::vector<std::vector<std::string>> next;
    if (varied.size() * choices.size() > static_cast<size_t>(kMaxSweepPoints)) {
      throw ConfigError(str("the sweep has more than ", kMaxSweepPoints, " points; sweep fewer values at a time"));
    }
    for (const auto& point : varied) {
      for (const auto& choice : choices) {
        next.push_back(point);
        next.back().push_back(choice);
      }
    }
    varied = std::move(next);
  }
  if (varied.size() > static_cast<size_t>(kMaxSweepPoints)) {
    throw ConfigError(str("the sweep has more than ", kMaxSweepPoints, " points; sweep fewer values at a time"));
  }
  if (varied.size() == 1 && !has_lines) {
    throw ConfigError("nothing to sweep: give a key several values, as in seed=0,1,2, or a file with one job a line");
  }
  std::set<std::string> names;
  for (const auto& point : varied) {
    SweepPoint out{name_of(point), sweep.fixed};
    out.overrides.insert(out.overrides.end(), point.begin(), point.end());
    if (!names.insert(out.name).second) throw ConfigError(str("the sweep has the point '", out.name, "' twice"));
    sweep.points.push_back(std::move(out));
  }
  return sweep;
}

std::string override_value(const std::string& text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return is_word_char(c) || std::string_view("._/-+").find(c) != std::string_view::npos;
  });
  // A word such as true or 12 would be read as another type.
  if (plain && typed_scalar(text, Dialect::kCommandLine, {}) == Node::string(text, {})) return text;
  // Inside quotes only the quote, and backslashes in front of it, are escaped.
  std::string out = "'";
  size_t slashes = 0;
  const auto put_slashes = [&](bool twice) {
    out.append(twice ? 2 * slashes : slashes, '\\');
    slashes = 0;
  };
  for (const char c : text) {
    if (c == '\\') {
      ++slashes;
      continue;
    }
    put_slashes(c == '\'');
    if (c == '\'') out += '\\';
    out += c;
  }
  put_slashes(true);
  return out + "'";
}

}  // namespace snell::config
