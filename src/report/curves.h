// metrics.jsonl as series for charts.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "snell/report/chart.h"

namespace snell::report {

struct Curves {
  Series train_loss, eval_loss, top1, top5, ema_top1, lr, images_per_s;  // over steps
  std::vector<Mark> resumes;
  std::vector<nlohmann::json> evals;              // the events
  std::map<int64_t, nlohmann::json> allocations;  // by epoch: the last sparsity event
  nlohmann::json finish;                          // the last one, or null
  nlohmann::json last_step;                       // the last step event, or null
  int64_t skipped_lines = 0;
};

Curves read_curves(const std::string& metrics_path);

// Whether an evaluation judged the weights' moving average.
bool is_of_ema(const nlohmann::json& eval_event);

// NaN when the field is absent or no number.
double number_of(const nlohmann::json& event, const char* key);

}  // namespace snell::report
