// Seconds of an operation and of a collective on a machine.
#pragma once

#include <cstdint>

#include "snell/plan/machine.h"
#include "snell/plan/trace.h"

namespace snell::plan {

// Of one rank, with the call on a machine whose ranks share its cores. Where they have devices of their own the host
// hands operations out ahead of the device: step_time() knows what that costs.
double op_seconds(const Op& op, const Rates& rates, bool shared_cores);

// The ranks of a collective: consecutive ones fill a node after the other.
struct Ranks {
  int64_t count = 1;
  int64_t per_node = 1;
  int64_t on_node() const { return count < per_node ? count : per_node; }
  int64_t nodes() const { return (count + per_node - 1) / per_node; }
};

enum class TwoLevel { kAuto, kAlways, kNever };  // dist.two_level

struct CollectiveCost {
  // A collective that goes up a tree and down again uses the two directions of its links one after the other, so that
  // the next one's way up passes beside this one's way down; else all of it is in `seconds`.
  double seconds = 0, seconds_back = 0;
  double core_seconds = 0;  // of the rank's own cores: copies within the node, where ranks are processes on cores
  double sent_bytes = 0;    // by a rank, the mean over the ranks
  double total() const { return seconds + seconds_back; }
};

// `bytes`: what this rank hands in (all_reduce: the tensor; all_gather: its part; reduce_scatter, all_to_all: all
// parts). Published costs of the algorithms: Thakur, Rabenseifner, Gropp, "Optimization of Collective Communication
// Operations in MPICH" (2005): a ring sums in 2(N-1) messages of B/N, gathers in N-1 of B/N; a tree in 2·log2(N)
// stages.
CollectiveCost collective_cost(Collective kind, double bytes, const Ranks& ranks, const Machine& machine,
                               TwoLevel two_level = TwoLevel::kAuto);

}  // namespace snell::plan
