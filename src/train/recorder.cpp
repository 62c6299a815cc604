#include "snell/train/recorder.h"

#include <sys/resource.h>

#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "snell/core/log.h"
#include "snell/core/timer.h"
#include "snell/core/version.h"
#include "snell/report/html.h"
#include "snell/report/metrics.h"
#include "snell/report/progress.h"
#include "snell/report/table.h"

namespace snell::train {
namespace {

// What was seen since the last step event.
struct Window {
  double loss_sum = 0;
  int64_t loss_samples = 0;
  int64_t samples = 0, correct = 0, steps = 0;
  double seconds = 0;
  core::FetchTotals fetched;
  double reduce_exposed_s = 0;
};

std::optional<int64_t> resumed_step(const RunFacts& facts, const Position& position) {
  return facts.resumed_from ? std::optional(position.step) : std::nullopt;
}

report::ProgressOptions progress_options(const RunConfig& config) {
  report::ProgressOptions options;
  options.log_every = config.log_every;
  return options;
}

double peak_memory_mb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;
}

}  // namespace

struct Recorder::State {
  State(const JobConfig& c, const RunFacts& f, const Position& p, const std::string& yaml)
      : config(c),
        facts(f),
        config_yaml(yaml),
        metrics(c.run.dir + "/metrics.jsonl", resumed_step(f, p)),
        summary(c.run.dir + "/summary.csv", resumed_step(f, p)),
        progress(progress_options(c.run)) {}

  void show(const std::string& phase, int64_t step, int64_t steps, const Position& position) {
    report::ProgressState shown;
    shown.phase = phase;
    shown.epochs = config.train.epochs;
    shown.epoch = std::min(position.epoch + (position.step_in_epoch > 0 ? 1 : 0), config.train.epochs);
    shown.step = step;
    shown.steps = steps;
    if (window.samples > 0) {
      shown.loss = window.loss_sum / static_cast<double>(window.loss_samples);
      shown.accuracy = 100.0 * static_cast<double>(window.correct) / static_cast<double>(window.samples);
      shown.images_per_s = static_cast<double>(window.samples) / window.seconds;
    }
    progress.update(shown);
  }

  const JobConfig config;
  const RunFacts facts;
  const std::string config_yaml;
  report::MetricsLog metrics;
  report::SummaryLog summary;
  report::Progress progress;
  core::Timer since_start, since_step;
  Window window;
  Position position;
  std::optional<EvalResult> last, last_ema;
};

Recorder::Recorder(const JobConfig& config, const RunFacts& facts, const Position& position,
                   const std::string& config_yaml)
    : state_(std::make_unique<State>(config, facts, position, config_yaml)) {
  state_->position = position;
}
Recorder::~Recorder() = default;

void Recorder::on_allocation(const AllocationEvent& event) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const auto& layer : event.layers) {
    const double kept = (1 - layer.sparsity) * static_cast<double>(layer.num_entries);
    layers.push_back({{"layer", layer.name},
                      {"sparsity", layer.sparsity},
                      {"kept", std::llround(kept)},
                      {"entries", layer.num_entries}});
  }
  state_->since_step.reset();
  // The first step that trains with them: a resume before it writes them anew.
  state_->metrics.write(
      "sparsity",
      {{"step", event.position.step + 1}, {"epoch", event.position.epoch + 1}, {"layers", std::move(layers)}});
}

void Recorder::on_step(const StepEvent& event) {
  State& s = *state_;
  s.position = event.position;
  if (std::isfinite(event.stats.loss)) {  // a step that float16 skipped has none
    s.window.loss_sum += event.stats.loss * static_cast<double>(event.stats.samples);
    s.window.loss_samples += event.stats.samples;
  }
  s.window.samples += event.stats.samples;
  s.window.correct += event.stats.correct;
  s.window.steps += 1;
  s.window.reduce_exposed_s += event.traffic.reduce_exposed_s;
  s.window.seconds += s.since_step.seconds();  // waiting for data counts
  s.window.fetched.bytes += event.fetched.bytes;
  s.window.fetched.exposed_seconds += event.fetched.exposed_seconds;
  s.since_step.reset();
  s.show("train", event.position.step, s.facts.total_steps, event.position);
  if (event.position.step % s.config.run.log_every != 0 && event.position.step != s.facts.total_steps) return;
  nlohmann::ordered_json fields = {
      {"step", event.position.step},
      {"epoch", event.position.epoch},
      {"loss", s.window.loss_sum / static_cast<double>(s.window.loss_samples)},
      {"accuracy", 100.0 * static_cast<double>(s.window.correct) / static_cast<double>(s.window.samples)},
      {"lr", event.lr},
      {"grad_norm", event.stats.grad_norm},
      {"samples", s.window.samples},
      {"images_per_s", static_cast<double>(s.window.samples) / s.window.seconds},
      {"seconds_per_step", s.window.seconds / static_cast<double>(s.window.steps)},
      {"bytes_all_reduced", event.traffic.bytes_all_reduced},
      {"wire_bytes", std::llround(event.traffic.wire_bytes)},
      {"bytes_across_nodes", event.traffic.bytes_across_nodes},
      {"reduce_exposed_s", s.window.reduce_exposed_s / static_cast<double>(s.window.steps)}};
  if (s.window.fetched.bytes > 0) {
    fields["bytes_gathered"] = s.window.fetched.bytes / s.window.steps;
    fields["gather_wait_seconds"] = s.window.fetched.exposed_seconds / static_cast<double>(s.window.steps);
  }
  if (s.config.run.dtype == "float16") {
    fields["loss_scale"] = event.stats.loss_scale;
    fields["skipped_steps"] = event.stats.skipped_steps;
  }
  s.metrics.write("step", fields);
  s.window = {};
}

void Recorder::on_eval_progress(int64_t done, int64_t of) {
  const Window kept = std::exchange(state_->window, {});
  state_->show("eval", done, of, state_->position);
  state_->window = kept;
}

void Recorder::on_evaluation(const EvalEvent& event) {
  State& s = *state_;
  s.since_step.reset();
  s.position = event.position;
  (event.ema ? s.last_ema : s.last) = event.result;
  const double best = event.ema ? event.position.best_ema_top1 : event.position.best_top1;
  const std::string weights = event.ema ? "ema" : "model";
  s.metrics.write("eval", {{"step", event.position.step},
                           {"epoch", event.position.epoch},
                           {"weights", weights},
                           {"loss", event.result.loss},
                           {"train_loss", event.position.last_train_loss},
                           {"top1", event.result.top1},
                           {"top5", event.result.top5},
                           {"best", best},
                           {"samples", event.result.num_samples},
                           {"seconds", event.result.seconds}});
  s.summary.add({event.position.epoch, event.position.step, event.position.last_train_loss, event.result.loss,
                 event.result.top1, event.result.top5, best, event.lr, s.since_start.seconds(), weights});
}

void Recorder::on_stragglers(const StragglerEvent& event) {
  for (const dist::Straggler& s : event.stragglers) {
    core::log_warning("straggler: " + describe(s));
    state_->metrics.write("straggler", {{"step", event.position.step},
                                        {"rank", s.rank},
                                        {"host", s.host},
                                        {"section", core::phase_name(s.section)},
                                        {"seconds", s.seconds},
                                        {"median_seconds", s.median_seconds},
                                        {"steps", s.steps}});
  }
}

void Recorder::on_checkpoint(const CheckpointEvent& event) {
  state_->since_step.reset();
  state_->metrics.write(
      "checkpoint", {{"step", event.step}, {"path", event.path}, {"bytes", event.bytes}, {"seconds", event.seconds}});
}

void Recorder::finish(const TrainResult& result, bool json) {
  State& s = *state_;
  s.progress.finish();
  const auto& f = s.facts;
  const double share = 100.0 * static_cast<double>(f.trainable_elements) / static_cast<double>(f.backbone_elements);
  nlohmann::ordered_json event = {{"step", result.position.step},
                                  {"epoch", result.position.epoch},
                                  {"method", s.config.adapter.name},
                                  {"ranks", f.num_ranks},
                                  {"trainable_parameters", f.trainable_elements},
                                  {"percent_of_backbone", share},
                                  {"bytes_all_reduced_per_step", f.num_ranks > 1 ? f.bytes_per_step : 0},
                                  {"seconds", result.seconds},
                                  {"peak_memory_mb", peak_memory_mb()},
                                  {"best", result.position.best_top1},
                                  {"best_epoch", result.position.best_epoch}};
  if (s.last) event["last"] = s.last->top1;
  if (s.config.optim.ema.enabled) {
    event["best_ema"] = result.position.best_ema_top1;
    event["best_ema_epoch"] = result.position.best_ema_epoch;
    if (s.last_ema) event["last_ema"] = s.last_ema->top1;
  }
  if (result.stop_signal != 0) event["signal"] = result.stop_signal;
  s.metrics.write(result.stop_signal != 0 ? "stop" : "finish", event);
  report::write_report(s.config.run.dir + "/report.html",
                       {s.config.run.name,
                        s.config.run.dir + "/metrics.jsonl",
                        s.config_yaml,
                        {{"snell", core::version()}, {"device", f.device}, {"ranks", std::to_string(f.num_ranks)}},
                        {}});
  std::vector<report::Column> columns{{"method", "method"},       {"trainable", "trainable parameters"},
                                      {"share", "% of backbone"}, {"bytes", "bytes all-reduced a step"},
                                      {"steps", "steps"},         {"seconds", "seconds"},
                                      {"last", "last top-1 %"},   {"best", "best top-1 %"}};
  const auto last = [](const std::optional<EvalResult>& r) { return r ? nlohmann::json(r->top1) : nlohmann::json(); };
  const auto best = [](double top1) { return top1 >= 0 ? nlohmann::json(top1) : nlohmann::json(); };
  std::vector<nlohmann::json> cells{
      s.config.adapter.name, f.trainable_elements, share,        f.num_ranks > 1 ? f.bytes_per_step : 0,
      result.position.step,  result.seconds,       last(s.last), best(result.position.best_top1)};
  if (s.config.optim.ema.enabled) {
    columns.insert(columns.end(), {{"last_ema", "last top-1 %, EMA"}, {"best_ema", "best top-1 %, EMA"}});
    cells.insert(cells.end(), {last(s.last_ema), best(result.position.best_ema_top1)});
  }
  report::Table table(columns);
  table.add(cells);
  if (json) {
    std::cout << table.json().dump(2) << std::endl;
    return;
  }
  std::cout << table.text() << "report: " << s.config.run.dir << "/report.html" << std::endl;
}

}  // namespace snell::train
