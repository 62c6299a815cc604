// What the sums of a step's gradients cost on the wire, from the counters of communicator and reducer.
#pragma once

#include <utility>

#include "snell/dist/reducer.h"
#include "snell/train/hooks.h"

namespace snell::train {

class TrafficMeter {
 public:
  // Both must outlive it.
  TrafficMeter(const dist::Communicator& communicator, const dist::Reducer& reducer)
      : communicator_(communicator), reducer_(reducer) {}

  // Of the step that ended; zeros on one rank.
  StepTraffic of_step() {
    StepTraffic traffic;
    if (communicator_.size() == 1) return traffic;
    const dist::ReducerStats& stats = reducer_.stats();
    traffic.bytes_all_reduced = stats.bytes_per_step;
    traffic.reduce_exposed_s = stats.last_exposed_seconds;
    double wire = 0;
    for (const char* kind : {"all_reduce", "all_to_all", "all_gather"}) wire += communicator_.wire_bytes(kind);
    const int64_t across = communicator_.bytes_across_nodes();
    traffic.wire_bytes = wire - std::exchange(wire_before_, wire);
    traffic.bytes_across_nodes = across - std::exchange(across_before_, across);
    return traffic;
  }

 private:
  const dist::Communicator& communicator_;
  const dist::Reducer& reducer_;
  double wire_before_ = 0;
  int64_t across_before_ = 0;
};

}  // namespace snell::train
