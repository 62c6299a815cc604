#include "snell/config/binder.h"
#include "snell/config/scalar.h"
#include "snell/core/text.h"

namespace snell::config {

using core::str;

// 0 rather than 0.0: limits are written for people.
static std::string short_number(double value) {
  std::string text = format_double(value);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

std::string Limits::text() const {
  if (!choices.empty()) return "one of " + core::join(choices);
  if (low && high)
    return str("in ", low_open ? "(" : "[", short_number(*low), ", ", short_number(*high), high_open ? ")" : "]");
  if (low) return str(low_open ? "> " : ">= ", short_number(*low));
  if (high) return str(high_open ? "< " : "<= ", short_number(*high));
  return "";
}

Limits in_range(double low, double high) {
  Limits limits;
  limits.low = low;
  limits.high = high;
  return limits;
}

Limits at_least(double low) {
  Limits limits;
  limits.low = low;
  return limits;
}

Limits positive() {
  Limits limits = at_least(0);
  limits.low_open = true;
  return limits;
}

Limits fraction() {
  return in_range(0, 1);
}

Limits one_of(std::vector<std::string> choices) {
  Limits limits;
  limits.choices = std::move(choices);
  return limits;
}

}  // namespace snell::config
