#include "snell/report/html.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <limits>

#include "report/support.h"
#include "snell/report/chart.h"
#include "snell/report/metrics.h"

namespace snell::report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

std::string report_of(const TempFolder& folder, const ReportPage& page) {
  write_report(folder.file("report.html"), page);
  return read_all(folder.file("report.html"));
}

void log_run(const std::string& path, int64_t steps, int64_t each_eval) {
  MetricsLog log(path, std::nullopt, 1000);
  for (int64_t step = 1; step <= steps; ++step) {
    const double t = static_cast<double>(step) / static_cast<double>(steps);
    log.write("step", {{"step", step},
                       {"loss", 2.3 * std::exp(-3 * t) + 0.05 * std::sin(static_cast<double>(step * step))},
                       {"lr", 1e-3 * (1 + std::cos(3.14159 * t)) / 2},
                       {"images_per_s", 500 + 20 * std::sin(static_cast<double>(step))},
                       {"bytes_all_reduced", 5308416},
                       {"seconds_per_step", 0.5},
                       {"reduce_exposed_s", 0.0125}});
    if (step % each_eval == 0) {
      log.write("eval", {{"step", step},
                         {"epoch", step / each_eval},
                         {"loss", 2.2 * std::exp(-2.5 * t)},
                         {"top1", 90 - 70 * std::exp(-4 * t)},
                         {"top5", 99 - 50 * std::exp(-6 * t)},
                         {"seconds", 3.5}});
    }
    if (step == steps / 2) log.write("resume", {{"step", step}});
  }
  log.write("finish", {{"step", steps}, {"best_top1", 88.7}});
}

TEST(Html, ReportHoldsCurvesTablesConfigAndNothingFromOutside) {
  TempFolder folder;
  log_run(folder.file("m.jsonl"), 1000, 100);
  const std::string page = report_of(folder, {.title = "SNELL-8 on digits",
                                              .metrics_path = folder.file("m.jsonl"),
                                              .config = "optim:\n  lr: 0.001\n",
                                              .environment = {{"host", "node1"}},
                                              .pictures = {{"png bytes", "seven", true}, {"more", "one", false}}});
  for (const char* part :
       {"<h1>SNELL-8 on digits</h1>", "Learning rate</figcaption>", "Accuracy</figcaption>", "resumed after step 500",
        "optim:\n  lr: 0.001", "<th>host</th><td>node1</td>", "data:image/png;base64,cG5nIGJ5dGVz", "class=\"right\"",
        "class=\"wrong\"", "5.3 MB", "<th>best_top1</th><td>88.7</td>", "prefers-color-scheme:dark", "training: "}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  EXPECT_EQ(count_of(page, "<svg"), 4u);
  for (const char* outside : {"http://", "https://", "<script", "src=\"/", "@import", "url("}) {
    EXPECT_THAT(page, Not(HasSubstr(outside)));
  }
}

TEST(Html, AllTextIsEscaped) {
  TempFolder folder;
  const std::string evil = "\"'><script>alert(1)</script>&\x01\xff";
  {
    MetricsLog log(folder.file("m.jsonl"));
    log.write("step", {{"step", 1}, {"loss", 1}});
    log.write("finish", {{evil, evil}});
  }
  const std::string report = report_of(folder, {.title = evil,
                                                .metrics_path = folder.file("m.jsonl"),
                                                .config = evil,
                                                .environment = {{evil, evil}},
                                                .pictures = {{evil, evil, std::nullopt}}});
  ComparisonRow row;
  row.method = evil;
  row.note = evil;
  Table table({{"a", evil}});
  table.add({evil});
  write_comparison(folder.file("c.html"), {.title = evil,
                                           .paragraphs = {evil},
                                           .rows = {row},
                                           .tables = {{evil, table}},
                                           .runs = {{evil, folder.file("m.jsonl")}},
                                           .pictures = {{evil, evil, true}},
                                           .environment = {{evil, evil}}});
  const std::string comparison = read_all(folder.file("c.html"));
  for (const std::string& page : {report, comparison}) {
    EXPECT_THAT(page, Not(HasSubstr("<script")));
    EXPECT_THAT(page, Not(HasSubstr("\"'>")));
    EXPECT_THAT(page, HasSubstr("&quot;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;\xEF\xBF\xBD\xEF\xBF\xBD"));
    EXPECT_EQ(page.find('\x01'), std::string::npos);
    EXPECT_EQ(page.find('\xff'), std::string::npos);
  }
}

TEST(Html, ValuesThatAreNotFiniteAreGaps) {
  TempFolder folder;
  {
    MetricsLog log(folder.file("m.jsonl"));
    for (int step = 1; step <= 9; ++step) {
      log.write("step", {{"step", step}, {"loss", step == 5 ? kNan : 1.0 / step}, {"lr", kNan}});
    }
    log.write("eval", {{"step", 9}, {"top1", kNan}, {"loss", std::numeric_limits<double>::infinity()}});
  }
  const std::string page = report_of(folder, {.title = "t", .metrics_path = folder.file("m.jsonl")});
  EXPECT_EQ(count_of(page, "<svg"), 1u) << "only the loss has something to show";
  const size_t at = page.find("class=\"line s0\" d=\"");
  ASSERT_NE(at, std::string::npos);
  const std::string path = page.substr(at, page.find("/>", at) - at);
  EXPECT_EQ(count_of(path, "M"), 2u) << path;
  for (const char* bad : {"nan", "inf", "NaN"}) EXPECT_THAT(path, Not(HasSubstr(bad)));
}

TEST(Html, ARunWithoutStepsAndHugeOrEqualValues) {
  TempFolder folder;
  EXPECT_THAT(report_of(folder, {.title = "t", .metrics_path = folder.file("none")}), HasSubstr("has not logged"));
  {
    MetricsLog log(folder.file("m.jsonl"));
    log.write("step", {{"step", 1}, {"loss", 1e308}, {"lr", 0.0}});
    log.write("step", {{"step", 2}, {"loss", -1e308}, {"lr", 0.0}});
    log.write("eval", {{"step", "two"}, {"top1", "high"}, {"epoch", nlohmann::json::array()}});
  }
  append(folder.file("m.jsonl"), "{\"event\": 3}\n{}\n{\"event\":\"step\"}\n{\"event\":\"st");
  const std::string page = report_of(folder, {.title = "t", .metrics_path = folder.file("m.jsonl")});
  EXPECT_THAT(page, HasSubstr("1 unreadable lines"));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
}

nlohmann::ordered_json sparsity_event(int64_t epoch, int64_t blocks, const std::function<double(int64_t)>& kept_share) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  int64_t number = 0;
  for (int64_t block = 0; block < blocks; ++block) {
    for (const char* name : {"attn.q", "attn.k", "attn.v", "attn.proj", "mlp.fc1", "mlp.fc2"}) {
      const double kept = kept_share(number++);
      layers.push_back({{"layer", "blocks." + std::to_string(block) + "." + name},
                        {"sparsity", 1 - kept},
                        {"kept", std::llround(10000 * kept)},
                        {"entries", 10000}});
    }
  }
  return {{"step", 10 * epoch + 1}, {"epoch", epoch}, {"layers", layers}};
}

TEST(Html, AMapOfTheLayersSparsitiesForEachKindOfProjection) {
  TempFolder folder;
  {
    MetricsLog log(folder.file("m.jsonl"));
    for (int64_t epoch = 2; epoch <= 20; ++epoch) {
      log.write("sparsity", sparsity_event(epoch, 4, [&](int64_t i) { return i == 4 ? 1.0 : 0.5 / double(epoch); }));
    }
  }
  const std::string page = report_of(folder, {.title = "t", .metrics_path = folder.file("m.jsonl")});
  EXPECT_EQ(count_of(page, "<svg"), 7u) << "q, k, v, proj, fc1, fc2, and all together";
  for (const char* part : {"<figcaption>fc1</figcaption>", ">blocks.3.mlp</text>", "Kept entries, all layers",
                           "blocks.0.mlp.fc1: kept 100.00 % at first, 100.00 % at last (10,000 of 10,000 entries)",
                           "blocks.2.attn.q: kept 25.00 % at first, 2.50 % at last (250 of 10,000 entries)"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
}

TEST(Html, StrangeSparsitiesAreGaps) {
  TempFolder folder;
  append(
      folder.file("m.jsonl"),
      R"({"event":"sparsity","epoch":1,"layers":[3,{},{"layer":"<b>.q","kept":1,"entries":2},{"layer":"a.k","kept":3,"entries":2}]})"
      "\n"
      R"({"event":"sparsity","epoch":"x","layers":7})"
      "\n"
      R"({"event":"sparsity","epoch":2,"layers":7})"
      "\n");
  const std::string page = report_of(folder, {.title = "t", .metrics_path = folder.file("m.jsonl")});
  EXPECT_THAT(page, HasSubstr("&lt;b&gt;.q: kept 50.00 % at first, not told at last"));
  EXPECT_THAT(page, Not(HasSubstr("a.k")));
}

TEST(Html, AMapOfManyLayersAndEpochsStaysSmall) {
  TempFolder folder;
  {
    MetricsLog log(folder.file("m.jsonl"), std::nullopt, 1000);
    for (int64_t epoch = 1; epoch <= 300; ++epoch) {
      log.write("sparsity",
                sparsity_event(epoch, 40, [&](int64_t i) { return double((i * 7919 + epoch * 31) % 101) / 100; }));
    }
  }
  EXPECT_LT(report_of(folder, {.title = "t", .metrics_path = folder.file("m.jsonl")}).size(), 1000000u);
}

TEST(Html, TheAveragedWeightsHaveTheirOwnAccuracy) {
  TempFolder folder;
  {
    MetricsLog log(folder.file("m.jsonl"));
    log.write("eval", {{"step", 1}, {"weights", "model"}, {"top1", 50.5}, {"top5", 90}, {"loss", 1}});
    log.write("eval", {{"step", 1}, {"weights", "ema"}, {"top1", 61.25}, {"top5", 91}, {"loss", 1}});
  }
  const std::string page = report_of(folder, {.title = "t", .metrics_path = folder.file("m.jsonl")});
  for (const char* part : {"<b>50.50 %</b><span>top-1, last", "<b>61.25 %</b><span>top-1 of the EMA, best",
                           "top-1, EMA</span>", "<td>EMA</td>", "<td>trained</td>"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
}

TEST(Html, AHundredThousandEventsStayBelowAMegabyte) {
  TempFolder folder;
  log_run(folder.file("m.jsonl"), 100000, 100);
  const std::string page = report_of(folder, {.title = "long", .metrics_path = folder.file("m.jsonl")});
  EXPECT_LT(page.size(), 500000u);
  EXPECT_THAT(page, HasSubstr("The last 100 of 1000"));
}

TEST(Html, Comparison) {
  TempFolder folder;
  log_run(folder.file("a.jsonl"), 300, 30);
  log_run(folder.file("b.jsonl"), 400, 50);
  const std::vector<ComparisonRow> rows = {{"linear probe", 1930, 0.2, 7720, 40, 54.0, "lr 1e-2"},
                                           {"SNELL-8", 90000, 11.5, 360000, 95, 74.6, "lr 1e-3"},
                                           {"full", 800000, 100, 3200000, kNan, kNan, ""}};
  write_comparison(folder.file("c.html"),
                   {.title = "Digits",
                    .paragraphs = {"Four methods."},
                    .rows = rows,
                    .runs = {{"SNELL-8", folder.file("a.jsonl")}, {"full", folder.file("b.jsonl")}}});
  const std::string page = read_all(folder.file("c.html"));
  for (const char* part : {"linear probe", "90,000", "360.0 kB", "74.6 %", "not claimed", "lr 1e-3", "Training loss"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  EXPECT_EQ(count_of(page, "<svg"), 4u);
  EXPECT_EQ(comparison_table(rows).json()[2]["accuracy"], nullptr);
}

TEST(Html, AChartAsAFileOfItsOwn) {
  LineChart chart{"a < b", "x", "y", {{"first"}, {"second & last"}}, {}};
  EXPECT_EQ(standalone_svg(chart), "");
  chart.series[0].points = {{0, 1}, {1, 2}};
  chart.series[1].points = {{0, 2}, {1, kNan}};
  const std::string svg = standalone_svg(chart);
  EXPECT_THAT(svg, ::testing::StartsWith("<svg xmlns=\"http://www.w3.org/2000/svg\""));
  for (const char* part : {"a &lt; b", "second &amp; last", "prefers-color-scheme:dark", "<style>"}) {
    EXPECT_THAT(svg, HasSubstr(part));
  }
  EXPECT_EQ(count_of(svg, "<circle"), 3u);
  EXPECT_EQ(count_of(svg, "<svg"), count_of(svg, "</svg>"));
}

}  // namespace
}  // namespace snell::report
