// report.html of one run.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "curves.h"
#include "page.h"
#include "snell/core/text.h"
#include "snell/io/files.h"
#include "snell/report/chart.h"
#include "sparsity_map.h"

namespace snell::report {

using core::str;
using nlohmann::json;

static constexpr size_t kEvaluationsShown = 100;
static constexpr size_t kFieldsShown = 200;
static constexpr size_t kFieldBytes = 500;

static std::string fixed(double value, int digits) {
  if (!std::isfinite(value)) return "-";
  char text[400];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

static std::string tile(const std::string& value, const std::string& what) {
  return str("<div class=\"tile\"><b>", escaped(value), "</b><span>", escaped(what), "</span></div>\n");
}

static std::string step_text(const json& event) {
  const auto step = event.find("step");
  return step != event.end() && step->is_number_integer() ? with_separators(step->get<int64_t>()) : "-";
}

// The last and the best evaluation of the weights, or of their moving average.
static std::string accuracy_tiles(const std::vector<json>& evals, bool ema) {
  double last = std::numeric_limits<double>::quiet_NaN(), best = last;
  bool any = false;
  for (const json& event : evals) {
    if (is_of_ema(event) != ema) continue;
    any = true;
    last = number_of(event, "top1");
    best = std::fmax(best, last);
  }
  if (!any) return "";
  const std::string whose = ema ? "top-1 of the EMA" : "top-1";
  return tile(fixed(last, 2) + " %", whose + ", last evaluation") +
         tile(fixed(best, 2) + " %", whose + ", best evaluation");
}

static std::string tiles(const Curves& curves) {
  std::string html = accuracy_tiles(curves.evals, false) + accuracy_tiles(curves.evals, true);
  if (!curves.last_step.is_null()) {
    html += tile(fixed(number_of(curves.last_step, "loss"), 4), "training loss, last step");
    html += tile(step_text(curves.last_step), "steps");
    html += tile(fixed(number_of(curves.last_step, "images_per_s"), 0), "images/s, last step");
    const double bytes = number_of(curves.last_step, "bytes_all_reduced");
    if (std::isfinite(bytes)) html += tile(core::human_bytes(bytes), "all-reduced a step");
    const double waited = number_of(curves.last_step, "reduce_exposed_s");
    const double share = 100 * waited / number_of(curves.last_step, "seconds_per_step");
    if (bytes > 0 && std::isfinite(share)) html += tile(fixed(share, 1) + " %", "of a step waits for gradients' sums");
  }
  return html.empty() ? "<p class=\"sub\">This run has not logged a step yet.</p>\n"
                      : str("<div class=\"tiles\">", html, "</div>\n");
}

static std::string charts(const Curves& curves) {
  std::vector<Series> losses = {curves.train_loss};
  if (!curves.eval_loss.points.empty()) losses.push_back(curves.eval_loss);
  std::vector<Series> accuracies = {curves.top1};
  for (const Series* more : {&curves.top5, &curves.ema_top1}) {
    if (!more->points.empty()) accuracies.push_back(*more);
  }
  const std::string html = line_chart({"Loss", "step", "loss", losses, curves.resumes}) +
                           line_chart({"Accuracy", "step", "percent", accuracies, curves.resumes}) +
                           line_chart({"Learning rate", "step", "learning rate", {curves.lr}, curves.resumes}) +
                           line_chart({"Speed", "step", "images/s", {curves.images_per_s}, curves.resumes});
  return html.empty() ? "" : str("<h2>Curves</h2>\n<div class=\"charts\">", html, "</div>\n");
}

static std::string evaluations(const Curves& curves) {
  if (curves.evals.empty()) return "";
  std::vector<Column> columns = {{"epoch", "epoch"},       {"step", "step"},     {"train_loss", "training loss", 4},
                                 {"loss", "loss", 4},      {"top1", "top-1, %"}, {"top5", "top-5, %"},
                                 {"seconds", "seconds", 1}};
  const bool two_kinds = std::any_of(curves.evals.begin(), curves.evals.end(), is_of_ema);
  if (two_kinds) columns.push_back({"weights", "weights"});
  Table table(columns);
  const size_t first = curves.evals.size() - std::min(curves.evals.size(), kEvaluationsShown);
  for (size_t i = first; i < curves.evals.size(); ++i) {
    std::vector<json> row;
    for (const Column& column : table.columns()) {
      const auto value = curves.evals[i].find(column.key);
      row.push_back(value != curves.evals[i].end() && value->is_number() ? *value : json());
    }
    if (two_kinds) row.back() = is_of_ema(curves.evals[i]) ? "EMA" : "trained";
    table.add(std::move(row));
  }
  const std::string shown =
      first > 0 ? str("<p class=\"sub\">The last ", kEvaluationsShown, " of ", curves.evals.size(), ".</p>\n") : "";
  return str("<h2>Evaluations</h2>\n", shown, html_table(table));
}

// What the run's last event says, as it stands.
static std::string result(const Curves& curves) {
  Pairs pairs;
  for (const auto& [key, value] : curves.finish.items()) {
    if (key == "event" || key == "time" || pairs.size() >= kFieldsShown) continue;
    std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    pairs.emplace_back(key, text.substr(0, kFieldBytes));
  }
  return pairs.empty() ? "" : str("<h2>Result</h2>\n", html_pairs(pairs));
}

void write_report(const std::string& path, const ReportPage& page) {
  const Curves curves = read_curves(page.metrics_path);
  std::string body = str("<h1>", escaped(page.title), "</h1>\n", tiles(curves));
  if (!page.pictures.empty()) body += str("<h2>Predictions</h2>\n", html_pictures(page.pictures));
  body += charts(curves) + sparsity_section(curves.allocations) + evaluations(curves) + result(curves);
  if (!page.environment.empty()) body += str("<h2>Environment</h2>\n", html_pairs(page.environment));
  if (!page.config.empty()) body += str("<h2>Config</h2>\n<pre>", escaped(page.config), "</pre>\n");
  if (curves.skipped_lines > 0) {
    body += str("<p class=\"sub\">", curves.skipped_lines, " unreadable lines of the log were left out.</p>\n");
  }
  io::write_file(path, document(page.title, body));
}

}  // namespace snell::report
