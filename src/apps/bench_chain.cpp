// snell bench chain: what the chain of a reproducible run costs of its step.
#include <cmath>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "bench.h"
#include "snell/core/version.h"
#include "snell/report/table.h"
#include "snell/train/bench_chain.h"

namespace snell::apps {
namespace {

using core::str;
using nlohmann::ordered_json;

const std::vector<std::string> kCommon = {
    "data=imagefolder",      "data.file=none",         "data.batch_size=16",     "backbone=vit_small_patch16_224",
    "backbone.weights=",     "adapter=snell32",        "adapter.sparsity=0.9",   "adapter.dropout=0.1",
    "adapter.drop_path=0.1", "backbone.drop_path=0.1", "dist.reproducible=true", "dist.virtual_shards=8"};

struct ChainSettings {
  int64_t rounds = 5;
  int64_t warmup = 1;
  int64_t classes = 100;
};

void bind(config::Binder& b, ChainSettings& s) {
  b.field("rounds", s.rounds, "pairs of steps that count", config::in_range(1, 1e6));
  b.field("warmup", s.warmup, "pairs before them", config::in_range(1, 1e6));
  b.field("classes", s.classes, "outputs of the head", config::in_range(1, 1e6));
}

struct Options {
  std::vector<std::string> settings;
  std::string config_dir;
  bool json = false;
};

// Removed with all that is in it.
class Folder {
 public:
  Folder() : path_((std::filesystem::temp_directory_path() / "snell-bench-XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr) throw core::DiskError(str("cannot create the folder ", path_));
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

double median_of(const std::vector<train::ChainRound>& rounds,
                 const std::function<double(const train::ChainRound&)>& f) {
  std::vector<double> values;
  for (const auto& round : rounds) values.push_back(f(round));
  return median(values);
}

// With V ranks a rank has one shard, while rank 0's other hashes stay: the largest share that a chain can have, where
// ranks wait for nothing else.
double share_on_ranks(const train::ChainRound& round, double ranks) {
  return (round.shards / ranks + round.sum + round.record) / (round.without / ranks);
}

ordered_json json_of(const std::vector<train::ChainRound>& rounds, const Job& job, int64_t bytes) {
  using Round = train::ChainRound;
  const auto V = static_cast<double>(job.config.dist.virtual_shards);
  return {{"version", core::version()},
          {"backbone", job.composed.choices.at("backbone")},
          {"batch", job.config.data.batch_size},
          {"virtual_shards", job.config.dist.virtual_shards},
          {"gradient_bytes", bytes},
          {"rounds", rounds.size()},
          {"step_seconds", median_of(rounds, [](const Round& r) { return r.without; })},
          {"step_seconds_with_chain", median_of(rounds, [](const Round& r) { return r.with; })},
          {"ratio", median_of(rounds, [](const Round& r) { return r.with / r.without; })},
          {"shard_hashes_seconds", median_of(rounds, [](const Round& r) { return r.shards; })},
          {"sum_hash_seconds", median_of(rounds, [](const Round& r) { return r.sum; })},
          {"record_seconds", median_of(rounds, [](const Round& r) { return r.record; })},
          {"share_on_one_rank", median_of(rounds, [](const Round& r) { return r.chain() / r.without; })},
          {"share_on_a_rank_a_shard", median_of(rounds, [&](const Round& r) { return share_on_ranks(r, V); })}};
}

std::string text_of(const ordered_json& result) {
  report::Table table({{"what", "what"}, {"value", "value", 3}});
  const auto add_milliseconds = [&](const char* what, const char* key) {
    table.add({str(what, ", ms"), result.at(key).get<double>() * 1e3});
  };
  const auto add_percent = [&](const char* what, const char* key) {
    table.add({str(what, ", % of the step"), result.at(key).get<double>() * 100});
  };
  add_milliseconds("step without the chain", "step_seconds");
  add_milliseconds("step with the chain", "step_seconds_with_chain");
  table.add({"with / without, median of the pairs", result.at("ratio")});
  add_milliseconds("hashes of all shards", "shard_hashes_seconds");
  add_milliseconds("hash of the sum", "sum_hash_seconds");
  add_milliseconds("hash of the state, and the record", "record_seconds");
  add_percent("chain on one rank, by its own clock", "share_on_one_rank");
  add_percent("chain on a rank a shard, computed", "share_on_a_rank_a_shard");
  return str(table.text(), "\n", result.at("backbone").get<std::string>(), ", batch ", result.at("batch"), " in ",
             result.at("virtual_shards"), " shards, gradients of ",
             core::human_bytes(result.at("gradient_bytes").get<double>()), ", ", result.at("rounds"),
             " pairs of steps; medians\n");
}

int run(const Options& o) {
  std::vector<std::string> overrides = kCommon, own;
  const auto settings = read_settings<ChainSettings>(o.settings, &own);
  overrides.insert(overrides.end(), own.begin(), own.end());
  const Job job = compose_job(o.config_dir, overrides);
  if (!job.config.dist.reproducible || job.config.run.dtype == "float16") {
    throw core::ConfigError("this benchmark needs dist.reproducible=true and another run.dtype than float16");
  }
  const Folder folder;
  train::ChainBench bench(job.config, settings.classes, folder.path());
  std::vector<train::ChainRound> rounds;
  for (int64_t i = -settings.warmup; i < settings.rounds; ++i) {
    const auto round = bench.run();
    std::cerr << str(i < 0 ? "warm-up: " : "", "without ", round.without, " s, with ", round.with, " s, chain ",
                     round.chain(), " s\n");
    if (i >= 0) rounds.push_back(round);
  }
  const ordered_json result = json_of(rounds, job, bench.gradient_bytes());
  std::cout << (o.json ? result.dump(2) + "\n" : text_of(result));
  return 0;
}

}  // namespace

void add_bench_chain(CLI::App& bench, Action& chosen) {
  auto o = std::make_shared<Options>();
  CLI::App* command = bench.add_subcommand(
      "chain",
      "What the chain of a reproducible run (dist.chain) costs: pairs of steps, one without and one with it, on "
      "ViT-S,\n"
      "SNELL-32, batch 16 in 8 virtual shards, made-up images. The chain's own clock tells more than the pairs, whose\n"
      "steps differ by more than the chain takes.");
  command->add_option("settings", o->settings, "rounds=, warmup=, classes=, and changes to the config");
  command->add_option("--config-dir", o->config_dir, "a folder of own configs, in front of the shipped ones");
  command->add_flag("--json", o->json, "print JSON");
  command->footer([] { return settings_footer<ChainSettings>("Settings:"); });
  command->callback([o, &chosen] { chosen = [o] { return run(*o); }; });
}

}  // namespace snell::apps
