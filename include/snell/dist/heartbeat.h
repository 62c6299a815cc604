// Heartbeats: what the ranks of a job tell each other beside MPI, which cannot tell a dead host from a slow one. Small
// UDP datagrams between every rank and rank 0, each with the job's token. Pure functions: nothing here waits or sends.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "snell/core/phase.h"

namespace snell::dist {

using HeartbeatToken = std::array<uint8_t, 16>;

// A rank's own words.
struct RankState {
  core::PhaseKind phase = core::PhaseKind::kOther;
  int64_t step = 0;
  uint64_t waits = 0;     // core::PhaseState::waits
  uint32_t quiet_ms = 0;  // since a phase began or ended
  uint32_t limit_ms = 0;  // how long that may be
};

enum class Fault : uint8_t {
  kSilent,  // no heartbeat comes
  kBehind,  // the others wait for it
  kStuck,   // past its phase's limit, waiting for nobody
};

struct Suspect {
  uint32_t rank = 0;
  Fault fault = Fault::kSilent;
  RankState last;          // its last word
  uint32_t silent_ms = 0;  // since then
};

constexpr size_t kMaxSuspects = 16;
constexpr size_t kMaxHeartbeatBytes = 1024;

// One datagram: a rank to rank 0, or rank 0 to a rank.
struct Heartbeat {
  uint32_t sender = 0;
  uint64_t number = 0;       // counts up: an older one that comes later is dropped
  bool leaving = false;      // the sender ends in the ordinary way: its silence means nothing
  bool tripped = false;      // its watchdog gave up: everybody writes down what he knows, and ends
  bool has_verdict = false;  // of rank 0, after `tripped`: suspects (possibly none) are final
  bool somebody_works =
      false;  // of rank 0: a rank is in a phase of its own, within its limit: whoever waits may wait on
  RankState state;
  std::vector<Suspect> suspects;  // at most kMaxSuspects
};

std::string encode(const Heartbeat& beat, const HeartbeatToken& token);

// Nothing for bytes that are no heartbeat of this job: another token, length, sender or value than can be.
std::optional<Heartbeat> decode(std::span<const std::byte> bytes, const HeartbeatToken& token, uint32_t num_ranks);

// What rank 0 knows of a rank.
struct RankView {
  bool heard = false;  // ever
  bool left = false;
  double silent_s = 0;
  RankState state;
};

// Whether any rank that is heard of (within `silent_after_s`) does something of its own that is within its limit.
bool somebody_works(std::span<const RankView> ranks, double silent_after_s);

// Who is to blame when a rank waits too long: those that are silent for more than `silent_after_s`; else those that the
// others wait for (they began fewer waits, or do something of their own while the others wait); else those past their
// limit. Nobody: all wait in the same place.
std::vector<Suspect> find_suspects(std::span<const RankView> ranks, double silent_after_s);

// "rank 1 on node7 is silent: no heartbeat for 5.2 s; its last word: backward of step 37".
std::string describe(const Suspect& suspect, const std::string& host);

}  // namespace snell::dist
