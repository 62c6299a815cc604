// snell compare: finished runs side by side.
#include <filesystem>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>

#include "app.h"
#include "snell/core/version.h"
#include "snell/report/html.h"
#include "snell/report/metrics.h"

namespace snell::apps {
namespace {

struct Options {
  std::vector<std::string> runs, notes;
  std::string html, title = "Runs side by side";
  bool json = false;
};

report::ComparisonRow row_of(const std::string& run) {
  const std::string metrics = run + "/metrics.jsonl";
  nlohmann::json finish;
  report::for_each_event(metrics, [&](const nlohmann::json& event) {
    if (event.value("event", "") == "finish") finish = event;
  });
  if (finish.is_null()) {
    throw core::ConfigError(core::str(run, " is not the folder of a finished run: ", metrics, " has no finish event"));
  }
  const double not_known = std::numeric_limits<double>::quiet_NaN();
  report::ComparisonRow row;
  row.method = std::filesystem::path(run).filename().string();
  row.trainable_parameters = finish.value("trainable_parameters", int64_t{0});
  row.percent_of_backbone = finish.value("percent_of_backbone", not_known);
  row.bytes_all_reduced = finish.value("bytes_all_reduced_per_step", int64_t{0});
  row.seconds = finish.value("seconds", not_known);
  row.accuracy = finish.value("last", not_known);
  row.note = core::str("peak memory ", static_cast<int64_t>(finish.value("peak_memory_mb", 0.0)), " MB a rank");
  return row;
}

int run(const Options& o) {
  report::ComparisonPage page;
  page.title = o.title;
  page.paragraphs = o.notes;
  page.environment = {{"snell", core::version()}};
  for (const auto& folder : o.runs) {
    page.rows.push_back(row_of(folder));
    page.runs.emplace_back(page.rows.back().method, folder + "/metrics.jsonl");
  }
  const auto table = report::comparison_table(page.rows);
  std::cout << (o.json ? table.json().dump(2) + "\n" : table.text());
  if (!o.html.empty()) report::write_comparison(o.html, page);
  return 0;
}

}  // namespace

void add_compare(CLI::App& app, Action& chosen) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("compare",
                                         "Finished runs side by side.\n"
                                         "Example: snell compare runs/snell runs/full --html compare.html");
  command->add_option("runs", o->runs, "folders of finished runs")->required();
  command->add_option("--html", o->html, "also write a page with curves");
  command->add_option("--title", o->title, "title of the page")->capture_default_str();
  command->add_option("--note", o->notes, "a paragraph of the page; may be given several times")
      ->expected(1)
      ->take_all();
  command->add_flag("--json", o->json, "print the table as JSON");
  command->callback([o, &chosen] { chosen = [o] { return run(*o); }; });
}

}  // namespace snell::apps
