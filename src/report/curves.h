// metrics.jsonl as series for charts.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "chart.h"

namespace snell::report {

struct Curves {
  Series train_loss, eval_loss, top1, top5, lr, images_per_s;  // over steps
  std::vector<Mark> resumes;
  std::vector<nlohmann::json> evals;  // the events
  nlohmann::json finish;              // the last one, or null
  nlohmann::json last_step;           // the last step event, or null
  int64_t skipped_lines = 0;
};

Curves read_curves(const std::string& metrics_path);

// NaN when the field is absent or no number.
double number_of(const nlohmann::json& event, const char* key);

}  // namespace snell::report
