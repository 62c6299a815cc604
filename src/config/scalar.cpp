#include "snell/config/scalar.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>

#include "snell/core/text.h"

namespace snell::config {

namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

// "yes", "Yes", "YES", but not "yEs".
bool is_word(std::string_view text, std::string_view word) {
  if (lower(text) != word) return false;
  bool all_upper = std::none_of(text.begin(), text.end(), [](char c) { return c >= 'a' && c <= 'z'; });
  return all_upper || text.substr(1) == word.substr(1);
}

// Digits with single underscores between them; the number of characters taken.
size_t digits_at(std::string_view text) {
  size_t at = 0;
  while (at < text.size() && (is_digit(text[at]) || (text[at] == '_' && at > 0 && at + 1 < text.size() &&
                                                     is_digit(text[at - 1]) && is_digit(text[at + 1]))))
    ++at;
  return at;
}

bool is_int(std::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  if (text.empty() || digits_at(text) != text.size()) return false;
  return text.size() == 1 || text[0] != '0';
}

// Sign, digits, point, exponent; at least one digit, and a point or an exponent.
bool is_float(std::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  size_t whole = digits_at(text), fraction = 0;
  text.remove_prefix(whole);
  bool point = !text.empty() && text[0] == '.';
  if (point) {
    text.remove_prefix(1);
    fraction = digits_at(text);
    text.remove_prefix(fraction);
  }
  if (whole + fraction == 0) return false;
  if (text.empty()) return point;
  if (text[0] != 'e' && text[0] != 'E') return false;
  text.remove_prefix(1);
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  return !text.empty() && digits_at(text) == text.size();
}

double to_double(std::string_view text) {
  std::string digits(text);
  std::erase_if(digits, [](char c) { return c == '_' || c == '+'; });
  double value = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error == std::errc::result_out_of_range) value = std::strtod(digits.c_str(), nullptr);  // 0 or infinity
  return value;
}

std::optional<double> special_float(std::string_view text, Dialect dialect) {
  double sign = 1;
  std::string_view word = text;
  if (!word.empty() && (word[0] == '-' || word[0] == '+')) {
    sign = word[0] == '-' ? -1 : 1;
    word.remove_prefix(1);
  }
  bool dotted = !word.empty() && word[0] == '.';
  if (dotted) word.remove_prefix(1);
  if (!dotted && dialect == Dialect::kFile) return std::nullopt;
  bool any_case = !dotted;
  if (any_case ? lower(word) == "inf" : is_word(word, "inf")) return sign * std::numeric_limits<double>::infinity();
  if (any_case ? lower(word) == "nan" : (word == "nan" || word == "NaN" || word == "NAN"))
    return std::numeric_limits<double>::quiet_NaN();
  return std::nullopt;
}

std::optional<bool> bool_of(std::string_view text, Dialect dialect) {
  if (dialect == Dialect::kCommandLine) {
    std::string word = lower(text);
    if (word == "true") return true;
    if (word == "false") return false;
    return std::nullopt;
  }
  for (const char* word : {"true", "yes", "on"})
    if (is_word(text, word)) return true;
  for (const char* word : {"false", "no", "off"})
    if (is_word(text, word)) return false;
  return std::nullopt;
}

bool is_null(std::string_view text, Dialect dialect) {
  if (dialect == Dialect::kCommandLine) return lower(text) == "null";
  return text.empty() || text == "~" || is_word(text, "null");
}

}  // namespace

Node typed_scalar(std::string_view text, Dialect dialect, const Origin& origin) {
  std::string own(text);
  if (text == "???") return Node::scalar(Kind::kMissing, own, 0, origin);
  if (is_null(text, dialect)) return Node::null(origin);
  if (auto value = bool_of(text, dialect)) return Node::scalar(Kind::kBool, own, *value ? 1 : 0, origin);
  if (is_int(text)) return Node::scalar(Kind::kInt, own, to_double(text), origin);
  if (is_float(text)) return Node::scalar(Kind::kFloat, own, to_double(text), origin);
  if (auto value = special_float(text, dialect)) return Node::scalar(Kind::kFloat, own, *value, origin);
  return Node::string(std::move(own), origin);
}

std::string format_double(double value) {
  if (std::isnan(value)) return ".nan";
  if (std::isinf(value)) return value > 0 ? ".inf" : "-.inf";
  double size = std::abs(value);
  bool exponent = size != 0 && (size < 1e-4 || size >= 1e16);
  std::array<char, 64> buffer;
  auto format = exponent ? std::chars_format::scientific : std::chars_format::fixed;
  auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format).ptr;
  std::string text(buffer.data(), end);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

}  // namespace snell::config
