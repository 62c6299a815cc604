// Rank 0's hook that writes what a person reads: progress, metrics.jsonl, summary.csv, report.html.
#pragma once

#include <memory>
#include <string>

#include "snell/train/hooks.h"
#include "snell/train/trainer.h"

namespace snell::train {

class Recorder : public Hook {
 public:
  // `position`: where the run starts (after a resume: where it goes on). Throws DiskError.
  Recorder(const JobConfig& config, const RunFacts& facts, const Position& position, const std::string& config_yaml);
  ~Recorder() override;

  void on_allocation(const AllocationEvent& event) override;
  void on_step(const StepEvent& event) override;
  void on_eval_progress(int64_t done, int64_t of) override;
  void on_evaluation(const EvalEvent& event) override;
  void on_stragglers(const StragglerEvent& event) override;
  void on_checkpoint(const CheckpointEvent& event) override;
  // The finish event, the report, and the closing table on stdout (as text, or as JSON).
  void finish(const TrainResult& result, bool json = false);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace snell::train
