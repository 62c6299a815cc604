// Tables for people and programs from the same rows.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace snell::report {

struct Column {
  std::string key;    // in JSON
  std::string title;  // for people, with the unit
  int digits = 2;     // after the point, for numbers that are not whole
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // One value a column: numbers (right-aligned; whole ones with thousands separators), strings, booleans, null ("-").
  void add(std::vector<nlohmann::json> cells);

  const std::vector<Column>& columns() const { return columns_; }
  size_t num_rows() const { return rows_.size(); }
  // A cell as people read it.
  std::string cell(size_t row, size_t column) const;
  // Whether a column holds numbers (and gaps) only, and so is aligned to the right.
  bool is_numeric(size_t column) const;

  // Aligned by characters (UTF-8), with a rule below the titles; ends in a newline.
  std::string text() const;
  // A list of objects.
  nlohmann::ordered_json json() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<nlohmann::json>> rows_;
};

// "1,234,567"
std::string with_separators(int64_t value);

// Characters, not bytes.
size_t display_width(const std::string& text);

}  // namespace snell::report
