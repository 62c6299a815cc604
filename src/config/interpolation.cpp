#include "interpolation.h"

#include "snell/core/error.h"

namespace snell::config {

using core::ConfigError;
using core::str;

bool has_interpolation(std::string_view text) {
  return text.find("${") != std::string_view::npos;
}

// The position after the `}` that closes the "${" at `start`.
static size_t close_of(std::string_view text, size_t start) {
  int depth = 0;
  for (size_t i = start; i < text.size(); ++i) {
    if (text.compare(i, 2, "${") == 0) {
      ++depth;
      ++i;
    } else if (text[i] == '}' && --depth == 0) {
      return i + 1;
    }
  }
  throw ConfigError(str("'", text, "': a '${' is not closed; write \\${ for the characters themselves"));
}

std::vector<TextPart> split_interpolations(std::string_view text) {
  std::vector<TextPart> parts;
  std::string literal;
  for (size_t i = 0; i < text.size();) {
    size_t next = std::min(text.find("${", i), text.size());
    size_t slashes = 0;
    while (slashes < next - i && text[next - 1 - slashes] == '\\') ++slashes;
    if (next == text.size()) slashes = 0;
    literal.append(text.substr(i, next - i - slashes));
    literal.append(slashes / 2, '\\');
    i = next;
    if (next == text.size()) break;
    if (slashes % 2 == 1) {
      literal += "${";
      i += 2;
      continue;
    }
    size_t end = close_of(text, next);
    if (!literal.empty()) parts.push_back({false, std::move(literal)});
    literal.clear();
    parts.push_back({true, std::string(text.substr(next + 2, end - next - 3))});
    i = end;
  }
  if (!literal.empty() || parts.empty()) parts.push_back({false, std::move(literal)});
  return parts;
}

static std::string trim(std::string_view text) {
  size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(" \t") - first + 1));
}

std::vector<std::string> split_arguments(std::string_view text) {
  std::vector<std::string> out;
  size_t start = 0;
  int depth = 0;
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      --depth;
    } else if (c == ',' && depth == 0) {
      out.push_back(trim(text.substr(start, i - start)));
      start = i + 1;
    }
  }
  if (out.empty() && trim(text).empty()) return out;
  out.push_back(trim(text.substr(start)));
  return out;
}

}  // namespace snell::config
