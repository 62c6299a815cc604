#include "snell/config/settings_table.h"

#include "snell/core/text.h"

namespace snell::config {

using core::str;

static std::string allowed(const FieldDoc& field) {
  if (field.limits.empty()) return field.type;
  bool is_choice = field.limits.starts_with("one of ");
  if (!is_choice) return str(field.type, " ", field.limits);
  return field.type == "a string" ? field.limits : str(field.type, ", each ", field.limits);
}

std::string settings_text(std::span<const FieldDoc> fields) {
  std::string out;
  for (const auto& field : fields)
    out += str("  ", field.key, " = ", field.default_value, ": ", allowed(field), "; ", field.doc, "\n");
  return out;
}

static std::string cell(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

std::string settings_markdown(std::span<const FieldDoc> fields) {
  std::string out = "| key | type | default | meaning |\n|---|---|---|---|\n";
  for (const auto& field : fields)
    out += str("| `", field.key, "` | ", cell(allowed(field)), " | `", cell(field.default_value), "` | ",
               cell(field.doc), " |\n");
  return out;
}

}  // namespace snell::config
