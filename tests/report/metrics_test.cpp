#include "snell/report/metrics.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <limits>

#include "report/support.h"
#include "snell/core/error.h"

namespace snell::report {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;

std::vector<std::string> kinds_and_steps(const std::string& path, int64_t expect_skipped = 0) {
  std::vector<std::string> found;
  EXPECT_EQ(for_each_event(path,
                           [&](const json& event) {
                             found.push_back(event.at("event").get<std::string>() + event.at("step").dump());
                           }),
            expect_skipped);
  return found;
}

TEST(Metrics, OneObjectALine) {
  TempFolder folder;
  const std::string path = folder.file("metrics.jsonl");
  MetricsLog log(path);
  log.write("step",
            {{"step", 1}, {"loss", 0.5}, {"lr", std::numeric_limits<double>::quiet_NaN()}, {"text", "a\nb\xff"}});
  const std::string text = read_all(path);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << "flushed at once";
  EXPECT_TRUE(text.starts_with("{\"event\":\"step\",\"time\":")) << text;
  const json event = json::parse(text);
  EXPECT_EQ(event["loss"], 0.5);
  EXPECT_TRUE(event["lr"].is_null());
  EXPECT_EQ(event["text"], "a\nb\xEF\xBF\xBD");
}

TEST(Metrics, FlushesEveryFewLinesAndAtTheEnd) {
  TempFolder folder;
  const std::string path = folder.file("metrics.jsonl");
  {
    MetricsLog log(path, std::nullopt, 3);
    for (int i = 1; i <= 4; ++i) log.write("step", {{"step", i}});
    EXPECT_EQ(kinds_and_steps(path).size(), 3u);
  }
  EXPECT_EQ(kinds_and_steps(path).size(), 4u);
}

TEST(Metrics, ResumingCutsWhatWillHappenAgainAndATornLine) {
  TempFolder folder;
  const std::string path = folder.file("metrics.jsonl");
  {
    MetricsLog log(path);
    for (int i = 1; i <= 5; ++i) log.write("step", {{"step", i}});
    log.write("eval", {{"step", 3}});
    log.write("finish", {{"step", 2}});
  }
  append(path, "not json\n{\"event\":\"step\",\"st");
  {
    MetricsLog log(path, 3);
    log.write("step", {{"step", 4}});
  }
  EXPECT_THAT(kinds_and_steps(path), ElementsAre("step1", "step2", "step3", "eval3", "resume3", "step4"));
  json resume;
  for_each_event(path, [&](const json& event) {
    if (event["event"] == "resume") resume = event;
  });
  EXPECT_EQ(resume["dropped_events"], 5) << "steps 4 and 5, finish, the foreign line, the torn one";
}

TEST(Metrics, ATornLastLineIsLeftOutWhenReading) {
  TempFolder folder;
  const std::string path = folder.file("metrics.jsonl");
  append(path, "{\"event\":\"step\",\"step\":1}\n[1]\n{\"event\":\"step\",\"step\":2}\n{\"event\"");
  EXPECT_THAT(kinds_and_steps(path, 2), ElementsAre("step1", "step2"));
  EXPECT_THAT(kinds_and_steps(folder.file("absent"), 0), ElementsAre());
}

TEST(Metrics, ANewRunKeepsTheOldLogBesideIt) {
  TempFolder folder;
  const std::string path = folder.file("metrics.jsonl");
  { MetricsLog(path).write("step", {{"step", 7}}); }
  { MetricsLog(path).write("step", {{"step", 1}}); }
  EXPECT_THAT(kinds_and_steps(path), ElementsAre("step1"));
  EXPECT_THAT(kinds_and_steps(path + ".previous"), ElementsAre("step7"));
}

TEST(Metrics, AFullDiskIsADiskError) {
  EXPECT_THROW(MetricsLog("/nowhere/at/all/metrics.jsonl"), core::DiskError);
  TempFolder folder;
  MetricsLog log(folder.file("metrics.jsonl"));
  rlimit old = {};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {10, old.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  EXPECT_THROW(log.write("step", {{"step", 1}}), core::DiskError);
  ::setrlimit(RLIMIT_FSIZE, &old);
  ::signal(SIGXFSZ, old_handler);
}

TEST(Summary, RowsAndResume) {
  TempFolder folder;
  const std::string path = folder.file("summary.csv");
  {
    SummaryLog log(path);
    log.add({1, 10, 0.5, 0.6, 71.25, 95, 71.25, 1e-3, 12.5});
    log.add({2, 20, 0.25, 0.5, 72, 96, 72, 5e-4, 25});
  }
  append(path, "3,3");
  SummaryLog log(path, 10);
  log.add({2, 20, std::numeric_limits<double>::quiet_NaN(), 0.5, 73, 96, 73, 5e-4, 26, "ema"});
  EXPECT_EQ(read_all(path),
            "epoch,step,train_loss,eval_loss,top1,top5,best,lr,seconds,weights\n"
            "1,10,0.5,0.6,71.25,95,71.25,0.001,12.5,model\n"
            "2,20,nan,0.5,73,96,73,0.0005,26,ema\n");
}

}  // namespace
}  // namespace snell::report
