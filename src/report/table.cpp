#include "snell/report/table.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "snell/core/error.h"

namespace snell::report {

std::string with_separators(int64_t value) {
  std::string digits = std::to_string(value);
  const int64_t first = value < 0 ? 1 : 0;
  for (int64_t at = static_cast<int64_t>(digits.size()) - 3; at > first; at -= 3) {
    digits.insert(static_cast<size_t>(at), ",");
  }
  return digits;
}

size_t display_width(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

void Table::add(std::vector<nlohmann::json> cells) {
  core::check(cells.size() == columns_.size(),
              core::str("a table row has ", cells.size(), " cells for ", columns_.size(), " columns"));
  rows_.push_back(std::move(cells));
}

std::string Table::cell(size_t row, size_t column) const {
  const nlohmann::json& value = rows_[row][column];
  if (value.is_null()) return "-";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_number_integer()) return with_separators(value.get<int64_t>());
  if (!value.is_number()) return value.dump();
  const double number = value.get<double>();
  if (!std::isfinite(number)) return "-";
  char text[400];
  std::snprintf(text, sizeof text, "%.*f", columns_[column].digits, number);
  return text;
}

bool Table::is_numeric(size_t column) const {
  return !rows_.empty() &&
         std::ranges::all_of(rows_, [&](const auto& row) { return row[column].is_number() || row[column].is_null(); });
}

std::string Table::text() const {
  std::vector<size_t> widths;
  for (size_t c = 0; c < columns_.size(); ++c) {
    widths.push_back(display_width(columns_[c].title));
    for (size_t r = 0; r < rows_.size(); ++r) widths[c] = std::max(widths[c], display_width(cell(r, c)));
  }
  std::string out;
  const auto line = [&](auto&& text_of) {
    std::string row;
    for (size_t c = 0; c < columns_.size(); ++c) {
      const std::string text = text_of(c);
      const std::string space(widths[c] - display_width(text), ' ');
      if (c > 0) row += "  ";
      row += is_numeric(c) ? space + text : text + space;
    }
    row.erase(row.find_last_not_of(' ') + 1);
    out += row;
    out += '\n';
  };
  line([&](size_t c) { return columns_[c].title; });
  line([&](size_t c) { return std::string(widths[c], '-'); });
  for (size_t r = 0; r < rows_.size(); ++r) line([&](size_t c) { return cell(r, c); });
  return out;
}

nlohmann::ordered_json Table::json() const {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& row : rows_) {
    nlohmann::ordered_json object = nlohmann::ordered_json::object();
    for (size_t c = 0; c < columns_.size(); ++c) object[columns_[c].key] = row[c];
    list.push_back(std::move(object));
  }
  return list;
}

}  // namespace snell::report
