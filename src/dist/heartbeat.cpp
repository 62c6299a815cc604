#include "snell/dist/heartbeat.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>

#include "snell/core/text.h"

namespace snell::dist {

static_assert(std::endian::native == std::endian::little, "heartbeats are written as they lie in memory");

namespace {

constexpr uint32_t kMagic = 0x31424853;  // "SHB1"

struct Header {
  uint32_t magic = kMagic;
  uint32_t sender = 0;
  HeartbeatToken token{};
  uint64_t number = 0;
  uint8_t leaving = 0, tripped = 0, has_verdict = 0, num_suspects = 0;
  uint8_t somebody_works = 0;
  std::array<uint8_t, 3> padding{};
};
static_assert(sizeof(Header) == 40 && std::is_trivially_copyable_v<Header>);

struct State {
  int64_t step = 0;
  uint64_t waits = 0;
  uint32_t quiet_ms = 0, limit_ms = 0;
  uint32_t phase = 0, padding = 0;
};
static_assert(sizeof(State) == 32);

struct Blame {
  uint32_t rank = 0, fault = 0, silent_ms = 0, padding = 0;
  State last;
};
static_assert(sizeof(Blame) == 48);
static_assert(sizeof(Header) + sizeof(State) + kMaxSuspects * sizeof(Blame) <= kMaxHeartbeatBytes);

State pack(const RankState& s) {
  return {s.step, s.waits, s.quiet_ms, s.limit_ms, static_cast<uint32_t>(s.phase), 0};
}

std::optional<RankState> unpack(const State& s) {
  if (s.phase >= core::kNumPhaseKinds || s.step < 0) return std::nullopt;
  return RankState{static_cast<core::PhaseKind>(s.phase), s.step, s.waits, s.quiet_ms, s.limit_ms};
}

template <class T>
void put(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class T>
T get(std::span<const std::byte>& in) {
  T out;
  std::memcpy(&out, in.data(), sizeof out);
  in = in.subspan(sizeof out);
  return out;
}

std::string seconds(uint32_t ms) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f s", ms / 1000.0);
  return text.data();
}

}  // namespace

std::string encode(const Heartbeat& beat, const HeartbeatToken& token) {
  const size_t count = std::min(beat.suspects.size(), kMaxSuspects);
  std::string out;
  put(out, Header{kMagic,
                  beat.sender,
                  token,
                  beat.number,
                  beat.leaving,
                  beat.tripped,
                  beat.has_verdict,
                  static_cast<uint8_t>(count),
                  beat.somebody_works,
                  {}});
  put(out, pack(beat.state));
  for (size_t i = 0; i < count; ++i) {
    const Suspect& s = beat.suspects[i];
    put(out, Blame{s.rank, static_cast<uint32_t>(s.fault), s.silent_ms, 0, pack(s.last)});
  }
  return out;
}

std::optional<Heartbeat> decode(std::span<const std::byte> bytes, const HeartbeatToken& token, uint32_t num_ranks) {
  if (bytes.size() < sizeof(Header) + sizeof(State) || bytes.size() > kMaxHeartbeatBytes) return std::nullopt;
  const auto header = get<Header>(bytes);
  if (header.magic != kMagic || header.token != token || header.sender >= num_ranks) return std::nullopt;
  if (header.leaving > 1 || header.tripped > 1 || header.has_verdict > 1 || header.somebody_works > 1)
    return std::nullopt;
  const auto state = unpack(get<State>(bytes));
  if (!state || header.num_suspects > kMaxSuspects || bytes.size() != header.num_suspects * sizeof(Blame)) {
    return std::nullopt;
  }
  Heartbeat out;
  out.sender = header.sender;
  out.number = header.number;
  out.leaving = header.leaving != 0;
  out.tripped = header.tripped != 0;
  out.has_verdict = header.has_verdict != 0;
  out.somebody_works = header.somebody_works != 0;
  out.state = *state;
  for (int i = 0; i < header.num_suspects; ++i) {
    const auto blame = get<Blame>(bytes);
    const auto last = unpack(blame.last);
    if (!last || blame.rank >= num_ranks || blame.fault > static_cast<uint32_t>(Fault::kStuck)) return std::nullopt;
    out.suspects.push_back({blame.rank, static_cast<Fault>(blame.fault), *last, blame.silent_ms});
  }
  return out;
}

bool somebody_works(std::span<const RankView> ranks, double silent_after_s) {
  return std::any_of(ranks.begin(), ranks.end(), [&](const RankView& r) {
    return r.heard && !r.left && r.silent_s <= silent_after_s && !core::waits_for_others(r.state.phase) &&
           r.state.quiet_ms <= r.state.limit_ms;
  });
}

std::vector<Suspect> find_suspects(std::span<const RankView> ranks, double silent_after_s) {
  std::vector<Suspect> out;
  const auto blame_where = [&](Fault fault, auto&& holds) {
    for (size_t i = 0; i < ranks.size(); ++i) {
      const RankView& r = ranks[i];
      if (!r.heard || r.left || !holds(r)) continue;
      out.push_back({static_cast<uint32_t>(i), fault, r.state, static_cast<uint32_t>(r.silent_s * 1000)});
    }
    return !out.empty();
  };
  const auto waits = [](const RankView& r) { return core::waits_for_others(r.state.phase); };

  if (blame_where(Fault::kSilent, [&](const RankView& r) { return r.silent_s > silent_after_s; })) {
    std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.silent_ms > b.silent_ms; });
    return out;
  }
  uint64_t fewest = UINT64_MAX, most = 0;
  bool somebody_waits = false;
  for (const RankView& r : ranks) {
    if (!r.heard || r.left) continue;
    fewest = std::min(fewest, r.state.waits);
    most = std::max(most, r.state.waits);
    somebody_waits = somebody_waits || waits(r);
  }
  if (fewest < most && blame_where(Fault::kBehind, [&](const RankView& r) { return r.state.waits == fewest; })) {
    return out;
  }
  if (somebody_waits && blame_where(Fault::kBehind, [&](const RankView& r) { return !waits(r); })) return out;
  blame_where(Fault::kStuck, [&](const RankView& r) { return !waits(r) && r.state.quiet_ms > r.state.limit_ms; });
  return out;
}

std::string describe(const Suspect& s, const std::string& host) {
  const std::string who = core::str("rank ", s.rank, " on ", host);
  const std::string place = core::str("'", core::phase_name(s.last.phase), "' of step ", s.last.step);
  switch (s.fault) {
    case Fault::kSilent:
      return core::str(who, " is silent: no heartbeat for ", seconds(s.silent_ms), "; its last word: ", place);
    case Fault::kBehind:
      return core::str(who, " is behind: in ", place, " for ", seconds(s.last.quiet_ms),
                       ", and the others wait for it");
    case Fault::kStuck:
      return core::str(who, " is stuck: in ", place, " for ", seconds(s.last.quiet_ms), ", limit ",
                       seconds(s.last.limit_ms));
  }
  return who;
}

}  // namespace snell::dist
