// What a run measured, as it happens: metrics.jsonl (one JSON object an event) and summary.csv (one row an evaluation).
// Rank 0 writes them. Events and their fields (accuracies in percent, times in seconds):
//   step        step, epoch, loss, lr, images_per_s, seconds_per_step; of this step's sum of gradients over the ranks:
//               bytes_all_reduced (payload that this rank handed over), wire_bytes (sent by a rank, mean over ranks),
//               bytes_across_nodes (payload of sums across nodes, in two levels); reduce_exposed_s (of
//               seconds_per_step, the part that waited for those sums)
//   sparsity    step (the first that it holds for), epoch (counted from 1), layers: a list of {layer, sparsity, kept,
//               entries} (kept of ΔW's entries)
//   eval        step, epoch, weights (model, or ema: their moving average), loss, train_loss, top1, top5, best (of
//   these
//               weights), seconds
//   checkpoint  step, path, bytes, seconds
//   straggler   step, rank, host, section, seconds and median_seconds (of all ranks) over the last `steps` steps
//   resume      step, dropped_events, checkpoint
//   stop        as finish, when a signal ended the run early
//   finish      step, and whatever sums up the run
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "snell/io/files.h"

namespace snell::report {

// A number that is not finite becomes null. Lines are whole: one write() each.
class MetricsLog {
 public:
  // Without `resumed_step` a new log begins; one that was there is kept as <path>.previous. With it, events of later
  // steps (which will happen again) and a torn last line are cut off by an atomic rewrite, and a "resume" event says
  // how many. `flush_every`: lines a write(). Throws DiskError.
  explicit MetricsLog(std::string path, std::optional<int64_t> resumed_step = std::nullopt, int flush_every = 1);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  // `fields` is an object; "event" and "time" (seconds since 1970) are put in front. Throws DiskError.
  void write(const std::string& event, const nlohmann::ordered_json& fields);
  void flush();

 private:
  std::string path_;
  io::FileDescriptor file_;
  std::string pending_;
  int pending_lines_ = 0;
  int flush_every_;
};

// Calls `use` for each event in order; a line that is no JSON object (a torn one) is left out. Returns how many were.
// No file: no events.
int64_t for_each_event(const std::string& path, const std::function<void(const nlohmann::json&)>& use);

struct SummaryRow {
  int64_t epoch = 0;
  int64_t step = 0;
  double train_loss = 0;
  double eval_loss = 0;
  double top1 = 0;  // percent
  double top5 = 0;
  double best = 0;
  double lr = 0;
  double seconds = 0;             // since the run's start
  std::string weights = "model";  // that were judged: model, ema
};

// summary.csv. Resuming cuts rows of later steps. Throws DiskError.
class SummaryLog {
 public:
  explicit SummaryLog(std::string path, std::optional<int64_t> resumed_step = std::nullopt);
  void add(const SummaryRow& row);

 private:
  std::string path_;
  io::FileDescriptor file_;
};

}  // namespace snell::report
