#include "curves.h"

#include <cmath>
#include <limits>

#include "snell/core/text.h"
#include "snell/report/metrics.h"

namespace snell::report {

using nlohmann::json;

static constexpr double kMaxEpoch = 1e9;

double number_of(const json& event, const char* key) {
  const auto value = event.find(key);
  return value != event.end() && value->is_number() ? value->get<double>() : std::numeric_limits<double>::quiet_NaN();
}

// A field that is there but null was not finite: it becomes a gap in the line.
static void add(Series& series, const json& event, const char* key) {
  const double step = number_of(event, "step");
  if (event.contains(key) && std::isfinite(step)) series.points.emplace_back(step, number_of(event, key));
}

bool is_of_ema(const json& eval_event) {
  const auto weights = eval_event.find("weights");
  return weights != eval_event.end() && *weights == "ema";
}

Curves read_curves(const std::string& metrics_path) {
  Curves curves;
  curves.train_loss.name = "training";
  curves.eval_loss.name = "evaluation";
  curves.top1.name = "top-1";
  curves.top5.name = "top-5";
  curves.ema_top1.name = "top-1, EMA";
  curves.lr.name = "learning rate";
  curves.images_per_s.name = "images/s";
  curves.train_loss.noisy = true;
  curves.images_per_s.noisy = true;
  curves.skipped_lines = for_each_event(metrics_path, [&](const json& event) {
    const auto kind = event.find("event");
    if (kind == event.end() || !kind->is_string()) return;
    if (*kind == "step") {
      add(curves.train_loss, event, "loss");
      add(curves.lr, event, "lr");
      add(curves.images_per_s, event, "images_per_s");
      curves.last_step = event;
    } else if (*kind == "eval") {
      if (is_of_ema(event)) {
        add(curves.ema_top1, event, "top1");
      } else {
        add(curves.eval_loss, event, "loss");
        add(curves.top1, event, "top1");
        add(curves.top5, event, "top5");
      }
      curves.evals.push_back(event);
    } else if (*kind == "sparsity") {
      const double epoch = number_of(event, "epoch");
      if (epoch >= 0 && epoch < kMaxEpoch) curves.allocations[static_cast<int64_t>(epoch)] = event;
    } else if (*kind == "resume") {
      const double step = number_of(event, "step");
      if (std::isfinite(step)) curves.resumes.push_back({step, core::str("resumed after step ", step)});
    } else if (*kind == "finish") {
      curves.finish = event;
    }
  });
  return curves;
}

}  // namespace snell::report
