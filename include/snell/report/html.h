// Pages to look at: one file each, no network, light and dark. All text that comes from outside is escaped.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "snell/report/chart.h"
#include "snell/report/table.h"

namespace snell::report {

using Pairs = std::vector<std::pair<std::string, std::string>>;

// A picture with words below it.
struct Picture {
  std::string png;  // an encoded PNG file's bytes
  std::string caption;
  std::optional<bool> right;  // of a prediction: marked right or wrong
};

struct ReportPage {
  std::string title{};
  std::string metrics_path{};  // metrics.jsonl: the curves, the tables
  std::string config{};        // as it was resolved
  Pairs environment{};         // "host" → "node1", "LibTorch" → "2.11.0"
  std::vector<Picture> pictures{};
};

// report.html. However long the log is, the page stays below 1 MB (pictures and config apart). Throws DiskError.
void write_report(const std::string& path, const ReportPage& page);

struct ComparisonRow {
  std::string method;
  int64_t trainable_parameters = 0;
  double percent_of_backbone = 0;
  int64_t bytes_all_reduced = 0;  // a step
  double seconds = 0;             // NaN: unknown
  double accuracy = 0;            // percent; NaN: not claimed
  std::string note;               // such as what was searched
};

struct ComparisonPage {
  std::string title{};
  std::vector<std::string> paragraphs{};
  std::vector<ComparisonRow> rows{};
  std::vector<std::pair<std::string, Table>> tables{};      // more of them, with headings
  std::vector<std::pair<std::string, std::string>> runs{};  // name and metrics.jsonl: their curves together
  std::vector<Picture> pictures{};
  Pairs environment{};
};

// The rows as a table for terminal and JSON.
Table comparison_table(const std::vector<ComparisonRow>& rows);

// Charts with tables below them.
struct ChartsPage {
  std::string title{};
  std::vector<std::string> paragraphs{};
  std::vector<LineChart> charts{};
  std::vector<std::pair<std::string, Table>> tables{};  // with headings
};

// Throws DiskError.
void write_charts(const std::string& path, const ChartsPage& page);

// Throws DiskError.
void write_comparison(const std::string& path, const ComparisonPage& page);

}  // namespace snell::report
