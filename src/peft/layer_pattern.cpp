#include "snell/peft/layer_pattern.h"

#include <algorithm>

#include "snell/core/error.h"

namespace snell::peft {
namespace {

// std::regex recurses while it parses; names of layers need no long expression.
constexpr size_t kLongestPattern = 1000;

bool is_plain(const std::string& text) {
  return std::ranges::all_of(text, [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '.'; });
}

}  // namespace

LayerPattern::LayerPattern(const std::string& text, const std::string& setting) : text_(text) {
  if (text.empty() || text.size() > kLongestPattern) {
    throw core::ConfigError(
        core::str(setting, " holds a pattern of ", text.size(), " characters; 1 to ", kLongestPattern, " are allowed"));
  }
  if (is_plain(text)) return;
  try {
    expression_.emplace(text, std::regex::ECMAScript | std::regex::optimize);
  } catch (const std::regex_error& error) {
    throw core::ConfigError(core::str(setting, " holds '", text, "', which is no regular expression (", error.what(),
                                      "). Name a projection (q, attn.q) or write one, such as 'blocks\\.[0-5]\\..*'."));
  }
}

bool LayerPattern::matches(const std::string& name) const {
  if (expression_) return std::regex_match(name, *expression_);
  return name == text_ || name.ends_with("." + text_);
}

}  // namespace snell::peft
