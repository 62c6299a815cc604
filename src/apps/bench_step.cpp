// snell bench step: time and memory of one whole training step, method by method.
#include <strings.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "bench.h"
#include "row_process.h"
#include "snell/core/log.h"
#include "snell/core/version.h"
#include "snell/report/table.h"

namespace snell::apps {
namespace {

using core::str;
using nlohmann::ordered_json;

// OpenMP's threads look out for work for some 10 ms after a row's step before they sleep; only then is the next row's
// step undisturbed. With OMP_WAIT_POLICY=passive they would sleep at once, but a training run has it not, so a step
// would be another than the trainer's.
constexpr std::chrono::milliseconds kSettling{50};

struct Row {
  std::string name, about;
  std::vector<std::string> overrides;
};

// What a row is: its overrides on top of kCommon. A new row is a line here.
const std::vector<Row> kRows = {
    {"full", "full fine-tuning", {"adapter=full"}},
    {"frozen", "the head and the class token train", {"adapter=linear", "adapter.class_token=true"}},
    {"snell",
     "SNELL-32, nothing dropped",
     {"adapter=snell32", "adapter.sparsity=0.9", "adapter.dropout=0", "adapter.drop_path=0"}},
    {"snell_recipe",
     "SNELL-32 with the recipes' dropout and drop path",
     {"adapter=snell32", "adapter.sparsity=0.9", "adapter.dropout=0.1", "adapter.drop_path=0.1",
      "backbone.drop_path=0.1"}},
    {"snell_checkpoint",
     "SNELL-32, nothing dropped, blocks computed again in the backward pass",
     {"adapter=snell32", "adapter.sparsity=0.9", "adapter.dropout=0", "adapter.drop_path=0",
      "backbone.checkpoint_blocks=true"}},
    {"lora", "LoRA-32, nothing dropped", {"adapter=lora", "adapter.dropout=0", "adapter.drop_path=0"}},
    {"lora_recipe",
     "LoRA-32 with the recipes' dropout and drop path",
     {"adapter=lora", "adapter.dropout=0.1", "adapter.drop_path=0.1", "backbone.drop_path=0.1"}},
};

const std::vector<std::string> kCommon = {"data=imagefolder",  "data.file=none",
                                          "data.batch_size=8", "backbone=vit_base_patch16_224",
                                          "backbone.weights=", "backbone.drop_path=0"};

std::vector<std::string> row_names() {
  std::vector<std::string> out;
  for (const auto& row : kRows) out.push_back(row.name);
  return out;
}

const Row& row_of(const std::string& name) {
  const auto found = std::ranges::find(kRows, name, &Row::name);
  if (found == kRows.end()) {
    throw core::ConfigError(str("'", name, "' is no row of this benchmark; there are ", core::join(row_names())));
  }
  return *found;
}

struct StepSettings {
  std::vector<std::string> rows = row_names();
  int64_t rounds = 5;
  int64_t warmup = 1;
  int64_t classes = 1000;
};

void bind(config::Binder& b, StepSettings& s) {
  b.field("rows", s.rows, "what is measured, one process each", config::one_of(row_names()));
  b.field("rounds", s.rounds, "steps of each row that count", config::in_range(1, 1e6));
  b.field("warmup", s.warmup, "steps of each row before them", config::in_range(1, 1e6));
  b.field("classes", s.classes, "outputs of the head", config::in_range(1, 1e6));
  b.require(!s.rows.empty(), "rows", "names no row");
}

struct Options {
  std::vector<std::string> settings;
  std::string config_dir, row;
  bool json = false;
};

Job job_of_row(const Row& row, const std::string& config_dir, const std::vector<std::string>& own) {
  for (const auto& text : own) {
    const std::string key = text.substr(0, text.find('='));
    if (key == "adapter" || key == "adapter.name") {
      throw core::ConfigError(str("'", text, "' would make all rows the same; choose rows with rows="));
    }
  }
  std::vector<std::string> overrides = kCommon;
  overrides.insert(overrides.end(), row.overrides.begin(), row.overrides.end());
  overrides.insert(overrides.end(), own.begin(), own.end());
  return compose_job(config_dir, overrides);
}

struct Measured {
  const Row* row;
  nlohmann::json facts;
  std::vector<double> seconds;  // a round each
  nlohmann::json peak_bytes;    // null: not known
};

// Asks the rows for one step each in turn, round after round, so that whatever else slows the machine slows all.
std::vector<Measured> measure(const StepSettings& s, const Options& o) {
  std::vector<Measured> out;
  std::vector<std::unique_ptr<RowProcess>> processes;
  for (const auto& name : s.rows) {
    std::vector<std::string> arguments{"bench", "step", "--row", name};
    if (!o.config_dir.empty()) arguments.insert(arguments.end(), {"--config-dir", o.config_dir});
    arguments.insert(arguments.end(), o.settings.begin(), o.settings.end());
    processes.push_back(std::make_unique<RowProcess>(name, arguments));
    out.push_back(
        {&row_of(name), processes.back()->receive(), {}, {}});  // one after the other: loading takes all cores
  }
  for (int64_t round = -s.warmup; round < s.rounds; ++round) {
    std::string told = round < 0 ? str("warm-up ", round + s.warmup + 1, " of ", s.warmup, ":")
                                 : str("round ", round + 1, " of ", s.rounds, ":");
    for (size_t i = 0; i < processes.size(); ++i) {
      const auto answer = processes[i]->ask(kStepRequest);
      const double seconds = answer.at("seconds");
      std::this_thread::sleep_for(kSettling);
      out[i].peak_bytes = answer.at("peak_bytes");
      told += str(" ", out[i].row->name, " ", std::round(seconds * 1000) / 1000);
      if (round < 0) continue;
      if (!answer.at("finite").get<bool>()) {
        throw core::NonFiniteError(str("row '", out[i].row->name,
                                       "' made a step whose loss or gradients are not finite, "
                                       "so that its update was left out and its time means nothing; lower optim.lr, or "
                                       "with run.dtype=float16 raise warmup="));
      }
      out[i].seconds.push_back(seconds);
    }
    std::cerr << told << " s\n";
  }
  return out;
}

const Measured* find_row(const std::vector<Measured>& rows, const std::string& name) {
  const auto found = std::ranges::find_if(rows, [&](const Measured& m) { return m.row->name == name; });
  return found == rows.end() ? nullptr : &*found;
}

// The median of the rounds' ratios; null without the row that it relates to.
nlohmann::json time_ratio(const Measured& row, const Measured* to) {
  if (to == nullptr) return nullptr;
  std::vector<double> ratios;
  for (size_t i = 0; i < row.seconds.size(); ++i) ratios.push_back(row.seconds[i] / to->seconds[i]);
  return median(ratios);
}

nlohmann::json memory_ratio(const Measured& row, const Measured* to) {
  if (to == nullptr || row.peak_bytes.is_null() || to->peak_bytes.is_null()) return nullptr;
  if (to->peak_bytes.get<int64_t>() == 0) return nullptr;
  return row.peak_bytes.get<double>() / to->peak_bytes.get<double>();
}

ordered_json json_of(const std::vector<Measured>& rows) {
  const Measured *full = find_row(rows, "full"), *frozen = find_row(rows, "frozen");
  ordered_json list = ordered_json::array();
  for (const auto& m : rows) {
    list.push_back({{"row", m.row->name},
                    {"about", m.row->about},
                    {"overrides", m.row->overrides},
                    {"parameters", m.facts.at("parameters")},
                    {"trainable", m.facts.at("trainable")},
                    {"seconds", m.seconds},
                    {"seconds_median", median(m.seconds)},
                    {"seconds_min", std::ranges::min(m.seconds)},
                    {"time_to_full", time_ratio(m, full)},
                    {"time_to_frozen", time_ratio(m, frozen)},
                    {"model_bytes", m.facts.at("model_bytes")},
                    {"peak_bytes_above_model", m.peak_bytes},
                    {"memory_to_full", memory_ratio(m, full)}});
  }
  return list;
}

std::string text_of(const ordered_json& result) {
  report::Table table({{"row", "row"},
                       {"trainable", "trainable"},
                       {"median", "seconds a step", 3},
                       {"min", "least", 3},
                       {"full", "time, x full"},
                       {"frozen", "time, x frozen"},
                       {"model", "model, MB", 0},
                       {"peak", "peak above it, MB", 0},
                       {"memory", "memory, x full"}});
  const auto megabytes = [](const ordered_json& bytes) {
    return bytes.is_null() ? nlohmann::json() : nlohmann::json(std::llround(bytes.get<double>() / 1e6));
  };
  for (const auto& row : result.at("rows")) {
    table.add({row.at("row"), row.at("trainable"), row.at("seconds_median"), row.at("seconds_min"),
               row.at("time_to_full"), row.at("time_to_frozen"), megabytes(row.at("model_bytes")),
               megabytes(row.at("peak_bytes_above_model")), row.at("memory_to_full")});
  }
  return str(table.text(), "\n", result.at("backbone").get<std::string>(), ", batch ", result.at("batch"), ", ",
             result.at("dtype").get<std::string>(), " on ", result.at("device").get<std::string>(), ", ",
             result.at("threads"), result.at("threads") == 1 ? " thread; " : " threads; ", result.at("rounds"),
             result.at("rounds") == 1 ? " round" : " rounds", " after ", result.at("warmup"), " to warm up; medians\n");
}

int measure_and_tell(const StepSettings& s, const Options& o, const Job& job) {
  const auto rows = measure(s, o);
  const ordered_json result = {{"version", core::version()},
                               {"backbone", job.composed.choices.at("backbone")},
                               {"batch", job.config.data.batch_size},
                               {"classes", s.classes},
                               {"dtype", job.config.run.dtype},
                               {"device", rows.front().facts.at("device")},
                               {"threads", rows.front().facts.at("threads")},
                               {"rounds", s.rounds},
                               {"warmup", s.warmup},
                               {"rows", json_of(rows)}};
  std::cout << (o.json ? result.dump(2) + "\n" : text_of(result));
  return 0;
}

int run(const Options& o) {
  std::vector<std::string> overrides;
  const auto settings = read_settings<StepSettings>(o.settings, &overrides);
  if (!o.row.empty()) return run_bench_row(job_of_row(row_of(o.row), o.config_dir, overrides), settings.classes);
  std::vector<Job> jobs;  // what is wrong with a config is told before anything starts
  for (const auto& name : settings.rows) jobs.push_back(job_of_row(row_of(name), o.config_dir, overrides));
  if (const char* policy = std::getenv("OMP_WAIT_POLICY"); policy != nullptr && ::strcasecmp(policy, "active") == 0) {
    core::log_warning("OMP_WAIT_POLICY=active keeps rows busy that wait for their turn; the times mean little");
  }
  try {
    return measure_and_tell(settings, o, jobs.front());
  } catch (const RowDied& death) {
    std::cerr << "snell: bench step: " + std::string(death.what()) + "\n";
    return death.exit_code;
  }
}

std::string footer() {
  std::string text = settings_footer<StepSettings>("Settings:") + "\nRows:\n";
  for (const auto& row : kRows) text += str("  ", row.name, ": ", row.about, "\n");
  return text +
         "\nExamples:\n"
         "  snell bench step\n"
         "  snell bench step rows=full,snell rounds=9 run.threads=2 --json\n"
         "  snell bench step backbone=swin_base_patch4_window7_224 data.batch_size=4 run.dtype=bfloat16\n";
}

}  // namespace

void add_bench_step(CLI::App& bench, Action& chosen) {
  auto o = std::make_shared<Options>();
  CLI::App* command = bench.add_subcommand(
      "step",
      "Time and peak memory of one training step (forward, backward, AdamW), a row a method, on made-up images and\n"
      "generated weights. Each row is a process of its own; they make one step each in turn, so that ratios compare\n"
      "steps of the same minute. Ratios are medians over the rounds; memory is what a step needs above the model.");
  command->add_option("settings", o->settings,
                      "rows=, rounds=, warmup=, classes=, and changes to the config of all rows");
  command->add_option("--config-dir", o->config_dir, "a folder of own configs, in front of the shipped ones");
  command->add_option("--row", o->row)->group("");  // how this program starts its own rows
  command->add_flag("--json", o->json, "print JSON");
  command->footer(footer);
  command->callback([o, &chosen] { chosen = [o] { return run(*o); }; });
}

}  // namespace snell::apps
