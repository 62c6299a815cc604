// Building and comparing text: messages, and the nearest match that an error names.
#pragma once

#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace snell::core {

// The arguments, streamed one after the other.
template <class... Args>
std::string str(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

// "a, b, c"
std::string join(std::span<const std::string> parts, std::string_view separator = ", ");

// The candidate with the smallest edit distance to `word`, or "" when none is near enough to be a likely typing error.
std::string nearest_match(std::string_view word, std::span<const std::string> candidates);

// "5.3 MB" (powers of ten), for people.
std::string human_bytes(double bytes);

// "1:02:03" or "02:03".
std::string human_duration(double seconds);

}  // namespace snell::core
