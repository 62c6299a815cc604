// Which projections a setting means: "q" (every projection of that name), "attn.q" (every one whose full name ends so),
// or a regular expression (ECMAScript) over the whole of the full name, such as "blocks\.[0-5]\..*".
#pragma once

#include <optional>
#include <regex>
#include <string>

namespace snell::peft {

class LayerPattern {
 public:
  // Throws ConfigError that names `setting` for a regular expression that does not parse, or for an empty text.
  LayerPattern(const std::string& text, const std::string& setting);
  const std::string& text() const { return text_; }
  // `name`: a projection's full name, "blocks.0.attn.q".
  bool matches(const std::string& name) const;

 private:
  std::string text_;
  std::optional<std::regex> expression_;  // none: a plain suffix
};

}  // namespace snell::peft
