// The syntax of interpolations: splitting a string into literal text and ${...} parts.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace snell::config {

struct TextPart {
  bool is_interpolation = false;
  std::string text;  // literal text unescaped, or what stands between ${ and }
};

bool has_interpolation(std::string_view text);

// Throws ConfigError for an unclosed "${". Text without any interpolation comes back unescaped as one literal part.
std::vector<TextPart> split_interpolations(std::string_view text);

// A resolver's arguments at top-level commas, trimmed, quotes kept.
std::vector<std::string> split_arguments(std::string_view text);

}  // namespace snell::config
