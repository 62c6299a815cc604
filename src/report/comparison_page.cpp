// The page that sets several runs side by side.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "curves.h"
#include "page.h"
#include "snell/core/text.h"
#include "snell/io/files.h"
#include "snell/report/chart.h"

namespace snell::report {

using core::str;

static std::string percent(double value) {
  if (!std::isfinite(value)) return "not claimed";
  char text[400];
  std::snprintf(text, sizeof text, "%.1f %%", value);
  return text;
}

Table comparison_table(const std::vector<ComparisonRow>& rows) {
  const bool notes = std::ranges::any_of(rows, [](const ComparisonRow& row) { return !row.note.empty(); });
  std::vector<Column> columns = {{"method", "method"},
                                 {"trainable_parameters", "trainable parameters"},
                                 {"percent_of_backbone", "% of backbone"},
                                 {"bytes_all_reduced", "bytes all-reduced a step"},
                                 {"seconds", "seconds", 1},
                                 {"accuracy", "accuracy, %", 1}};
  if (notes) columns.push_back({"note", "note"});
  Table table(columns);
  const auto known = [](double value) { return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(); };
  for (const ComparisonRow& row : rows) {
    std::vector<nlohmann::json> cells = {
        row.method,         row.trainable_parameters, known(row.percent_of_backbone), row.bytes_all_reduced,
        known(row.seconds), known(row.accuracy)};
    if (notes) cells.push_back(row.note);
    table.add(std::move(cells));
  }
  return table;
}

static std::string bars(const std::vector<ComparisonRow>& rows) {
  std::vector<Bar> accuracy;
  std::vector<Bar> bytes;
  for (const ComparisonRow& row : rows) {
    accuracy.push_back({row.method, row.accuracy, percent(row.accuracy)});
    const auto moved = static_cast<double>(row.bytes_all_reduced);
    bytes.push_back({row.method, moved, core::human_bytes(moved)});
  }
  const bool claimed = std::ranges::any_of(rows, [](const auto& row) { return std::isfinite(row.accuracy); });
  return str("<div class=\"charts\">", claimed ? bar_chart("Accuracy", accuracy) : "",
             bar_chart("Bytes all-reduced a step", bytes), "</div>\n");
}

static std::string run_curves(const ComparisonPage& page) {
  std::vector<Series> losses;
  std::vector<Series> accuracies;
  for (const auto& [name, metrics_path] : page.runs) {
    Curves curves = read_curves(metrics_path);
    curves.train_loss.name = name;
    curves.top1.name = name;
    losses.push_back(std::move(curves.train_loss));
    accuracies.push_back(std::move(curves.top1));
  }
  const std::string html = line_chart({"Training loss", "step", "loss", losses, {}}) +
                           line_chart({"Accuracy", "step", "percent", accuracies, {}});
  return html.empty() ? "" : str("<h2>Curves</h2>\n<div class=\"charts\">", html, "</div>\n");
}

void write_comparison(const std::string& path, const ComparisonPage& page) {
  std::string body = str("<h1>", escaped(page.title), "</h1>\n");
  for (const std::string& paragraph : page.paragraphs) body += str("<p>", escaped(paragraph), "</p>\n");
  if (!page.rows.empty()) {
    body +=
        str("<h2>Methods</h2>\n", html_table(comparison_table(page.rows)), "<h2>Side by side</h2>\n", bars(page.rows));
  }
  if (!page.pictures.empty()) body += str("<h2>Predictions</h2>\n", html_pictures(page.pictures));
  for (const auto& [heading, table] : page.tables) body += str("<h2>", escaped(heading), "</h2>\n", html_table(table));
  body += run_curves(page);
  if (!page.environment.empty()) body += str("<h2>Environment</h2>\n", html_pairs(page.environment));
  io::write_file(path, document(page.title, body));
}

}  // namespace snell::report
