#include "snell/plan/step_time.h"

#include <algorithm>
#include <map>

#include "snell/core/error.h"

namespace snell::plan {
namespace {

class Player {
 public:
  Player(const Machine& machine, const Ranks& ranks, TwoLevel two_level)
      : machine_(machine), ranks_(ranks), two_level_(two_level), rates_(machine.rates_of(ranks.on_node())) {}

  void play(const Event& event) {
    switch (event.kind) {
      case Event::Kind::kOp:
        compute(event.op);
        break;
      case Event::Kind::kStart:
        start(event);
        break;
      case Event::Kind::kWait:
        wait(event.id);
        break;
      case Event::Kind::kPhase:
        phase_ = event.phase;
        break;
    }
  }

  StepTime finish() {
    for (const auto& [id, end] : ends_) out_.exposed_seconds += std::max(0.0, end - now_), now_ = std::max(now_, end);
    out_.seconds = now_;
    return out_;
  }

 private:
  // A GPU has its own time: an operation begins once the host has handed it out and the one before it has ended.
  void compute(const Op& op) {
    double seconds = op_seconds(op, rates_, machine_.shared_cores);
    if (!machine_.shared_cores) {
      host_ += rates_.op_overhead_us * 1e-6;
      seconds += std::max(0.0, host_ - now_);
    }
    out_.by_kind[static_cast<size_t>(op.kind)] += seconds;
    out_.by_phase[static_cast<size_t>(phase_)] += seconds;
    out_.compute_seconds += seconds;
    now_ += seconds;
  }

  void start(const Event& event) {
    const Ranks group{event.ranks > 0 ? event.ranks : ranks_.count, ranks_.per_node};
    const CollectiveCost cost = collective_cost(event.collective, event.bytes, group, machine_, two_level_);
    auto& traffic = out_.by_collective[static_cast<size_t>(event.collective)];
    ++traffic.calls;
    traffic.payload_bytes += event.bytes;
    traffic.sent_bytes += cost.sent_bytes;
    traffic.seconds += cost.total() + cost.core_seconds;
    out_.core_seconds += cost.core_seconds;
    now_ += cost.core_seconds;
    const double begin = std::max(now_, wire_free_);
    wire_free_ = begin + cost.seconds;
    const double begin_back = std::max(wire_free_, back_free_), end = begin_back + cost.seconds_back;
    back_free_ = end;
    out_.communication_seconds += end - std::max(begin, busy_until_);
    busy_until_ = end;
    ends_[event.id] = end;
  }

  void wait(int64_t id) {
    const auto found = ends_.find(id);
    if (found == ends_.end()) return;
    out_.exposed_seconds += std::max(0.0, found->second - now_);
    now_ = std::max(now_, found->second);
    ends_.erase(found);
  }

  const Machine& machine_;
  const Ranks ranks_;
  const TwoLevel two_level_;
  const Rates rates_;
  Phase phase_ = Phase::kForward;
  double now_ = 0, host_ = 0, wire_free_ = 0, back_free_ = 0, busy_until_ = 0;
  std::map<int64_t, double> ends_;  // of collectives that nobody waited for yet
  StepTime out_;
};

}  // namespace

StepTime step_time(const Trace& trace, const Machine& machine, const Ranks& ranks, TwoLevel two_level) {
  core::check(trace.ranks == ranks.count, core::str("a trace of ", trace.ranks, " ranks on ", ranks.count));
  Player player(machine, ranks, two_level);
  for (const Event& event : trace.events) player.play(event);
  return player.finish();
}

}  // namespace snell::plan
