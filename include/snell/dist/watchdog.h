// Ends a job that hangs. A thread of its own looks at the phases of the thread that made it (core/phase.h): each kind
// of phase may last max(floor_s, factor × the slowest of its kind so far). Beside MPI, which cannot tell a dead host
// from a slow one, every rank sends heartbeats to rank 0 (heartbeat.h).
//
// When a phase outlives its limit or a rank falls silent, every rank that still lives
//   1. writes why, its last 64 phases and the stacks of its threads to FOLDER/watchdog.rank<N>.txt,
//   2. logs which rank is silent, behind or stuck,
//   3. calls the abort hooks (abort_hooks.h: NCCL's communicator),
//   4. ends with exit code 124, without a word to MPI, and ends a launcher (mpirun, orted) that does not end by itself.
// docs/watchdog.md.
#pragma once

#include <memory>
#include <string>

#include "snell/dist/control_plane.h"
#include "snell/dist/watchdog_config.h"

namespace snell::dist {

class Watchdog {
 public:
  // Collective. The calling thread's phases are watched from now on (and marked, also when config.enabled is false).
  // One a process. `folder` must exist when it trips. AgreedError for a SNELL_HEARTBEAT_ADDRESS that is none.
  Watchdog(const WatchdogConfig& config, ControlPlane& control, std::string folder);
  // Tells the others that this rank ends in the ordinary way, unless an exception passes.
  ~Watchdog();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The limit of a kind of phase whose slowest of `count` lasted `slowest_s`.
double phase_limit_s(const WatchdogConfig& config, uint64_t count, double slowest_s);

}  // namespace snell::dist
