// Which rank is slow at what: every some steps the ranks compare their times of each section of a step (core/phase.h).
// Waiting for others is left out: it is the straggler that waits least.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "snell/core/phase.h"
#include "snell/dist/control_plane.h"
#include "snell/dist/watchdog_config.h"

namespace snell::dist {

struct Straggler {
  int rank = 0;
  std::string host;
  core::PhaseKind section = core::PhaseKind::kOther;
  double seconds = 0;         // of this rank, in all of `steps`
  double median_seconds = 0;  // of all ranks
  int64_t steps = 0;
};

// "rank 3 on node7: wait for a batch took 2.3 x the median over the last 100 steps (4.61 s, median 2.00 s)"
std::string describe(const Straggler& straggler);

using SectionTimes = std::array<int64_t, core::kNumPhaseKinds>;  // ns, by PhaseKind's number

// Ranks whose time of a section is at least `factor` times the median of all, and whose excess over it is at least a
// twentieth of `window_ns`: what could be felt. The median of an even number is the lower one, so that of two ranks the
// slower may be told from the faster. Ordered by excess, the largest first. `host` and `steps` are left to the caller.
std::vector<Straggler> find_stragglers(std::span<const SectionTimes> ranks, double factor, int64_t window_ns);

class StragglerWatch {
 public:
  // Collective where it compares: more than one rank, straggler_every > 0, and a thread whose phases are marked.
  StragglerWatch(const WatchdogConfig& config, ControlPlane& control);

  // After every step. Every straggler_every steps: collective, and the same list on every rank.
  std::vector<Straggler> after_step();

 private:
  ControlPlane& control_;
  int64_t every_;
  double factor_;
  std::vector<std::string> hosts_;
  SectionTimes before_{};
  int64_t window_start_ns_ = 0;
  int64_t steps_ = 0;
};

}  // namespace snell::dist
