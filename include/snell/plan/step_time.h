// A step's time: its trace, played on one rank's computing stream and one communication stream beside it.
#pragma once

#include <array>

#include "snell/plan/cost.h"

namespace snell::plan {

struct StepTime {
  double seconds = 0;
  double compute_seconds = 0;  // without waiting
  std::array<double, static_cast<size_t>(OpKind::kCount)> by_kind{};
  std::array<double, static_cast<size_t>(Phase::kCount)> by_phase{};  // computing
  struct Traffic {
    int64_t calls = 0;
    double payload_bytes = 0, sent_bytes = 0;  // of a rank
    double seconds = 0;                        // of the collectives, each by itself
  };
  std::array<Traffic, static_cast<size_t>(Collective::kCount)> by_collective{};
  double communication_seconds = 0;  // while any collective is under way
  double exposed_seconds = 0;        // that computing waits for one
  double core_seconds = 0;           // that collectives take from computing (Machine::shared_cores)

  double of(OpKind kind) const { return by_kind[static_cast<size_t>(kind)]; }
  double of(Phase phase) const { return by_phase[static_cast<size_t>(phase)]; }
  const Traffic& of(Collective kind) const { return by_collective[static_cast<size_t>(kind)]; }
};

// An operation begins when the one before it has ended; on a GPU not before the host, which runs ahead, has handed it
// out (Rates::op_overhead_us each). A collective begins once it was started and the one before it has left the wire; a
// wait ends when its collective has. What is never waited for ends with the step; what was started in the step before
// has ended. `ranks.count` must be the trace's.
StepTime step_time(const Trace& trace, const Machine& machine, const Ranks& ranks,
                   TwoLevel two_level = TwoLevel::kAuto);

}  // namespace snell::plan
