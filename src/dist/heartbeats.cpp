#include "heartbeats.h"

#include <algorithm>
#include <cstdio>

#include "snell/core/error.h"
#include "snell/core/text.h"

namespace snell::dist {
namespace {

constexpr double kGatherS = 0.6;       // rank 0 waits so long for everybody's last word before it blames
constexpr double kVerdictS = 1.5;      // and the others so long for what it says
constexpr double kTrippedPause = 0.2;  // between heartbeats of a rank that gave up
constexpr double kHelloPause = 0.5;    // until rank 0 answers for the first time
constexpr double kMissedBeats = 2.5;   // from so many on a rank counts as silent when somebody is to be blamed

std::string seconds(double s) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f s", s);
  return text.data();
}

}  // namespace

Heartbeats::Heartbeats(HeartbeatSetup setup, UdpSocket socket, double now)
    : setup_(std::move(setup)),
      socket_(std::move(socket)),
      views_(setup_.hosts.size()),
      heard_at_(setup_.hosts.size(), now),
      numbers_(setup_.hosts.size(), 0),
      addresses_(setup_.hosts.size()),
      next_send_(now + kHelloPause * static_cast<double>(setup_.rank % 64) / 64) {  // not all ranks at once
  core::check(setup_.rank < views_.size(), "heartbeats: a rank beyond their number");
  views_[setup_.rank].heard = true;
}

double Heartbeats::silent_after() const {
  return kMissedBeats * setup_.interval_s;
}

void Heartbeats::send_to(const sockaddr_in& to, double now) {
  Heartbeat beat;
  beat.sender = setup_.rank;
  beat.number = next_number_++;
  beat.leaving = leaving_;
  beat.tripped = tripped_at_.has_value();
  beat.state = own_;
  if (is_root()) beat.somebody_works = somebody_works(now);
  if (is_root() && verdict_) {
    beat.has_verdict = true;
    beat.suspects = *verdict_;
  }
  socket_.send(encode(beat, setup_.token), to);
}

// Of rank 0: to everybody who was heard of. Else to rank 0, or to wherever it may be.
void Heartbeats::send_own(double now) {
  bool known = false;
  for (const auto& address : addresses_) {
    if (!address) continue;
    send_to(*address, now);
    known = true;
  }
  if (known || is_root()) return;
  for (const auto& address : setup_.root_addresses) send_to(address, now);
}

void Heartbeats::take(const Heartbeat& beat, const sockaddr_in& from, double now) {
  const uint32_t rank = beat.sender;
  if (rank == setup_.rank || (!is_root() && rank != 0) || beat.number <= numbers_[rank]) return;
  numbers_[rank] = beat.number;
  heard_at_[rank] = now;
  views_[rank].heard = true;
  views_[rank].left = beat.leaving;
  views_[rank].state = beat.state;
  addresses_[rank] = from;
  if (beat.tripped && !tripped_peer_) tripped_peer_ = rank;
  if (is_root()) {
    if (!beat.leaving) send_to(from, now);
  } else {
    somebody_works_ = beat.somebody_works;
    if (beat.has_verdict) verdict_ = beat.suspects;
  }
}

void Heartbeats::receive_all(double now) {
  std::array<std::byte, kMaxHeartbeatBytes + 1> buffer;
  constexpr int kMostAtOnce = 4096;  // whoever floods the port does not keep the watchdog from its watch
  for (int i = 0; i < kMostAtOnce; ++i) {
    const auto got = socket_.receive(buffer);
    if (!got) return;
    if (got->first > kMaxHeartbeatBytes) continue;
    const auto beat = decode(std::span(buffer).first(got->first), setup_.token, static_cast<uint32_t>(views_.size()));
    if (beat) take(*beat, got->second, now);
  }
}

void Heartbeats::tick(double now, const RankState& own) {
  own_ = own;
  views_[setup_.rank].state = own;
  receive_all(now);
  if (now < next_send_) return;
  next_send_ = now + (tripped_at_ ? kTrippedPause : reached_root() ? setup_.interval_s : kHelloPause);
  if (!is_root() || tripped_at_) send_own(now);  // rank 0 only answers, else
}

std::vector<RankView> Heartbeats::views(double now) const {
  std::vector<RankView> out = views_;
  for (size_t i = 0; i < out.size(); ++i) out[i].silent_s = i == setup_.rank ? 0 : now - heard_at_[i];
  return out;
}

bool Heartbeats::somebody_works(double now) const {
  if (is_root()) return dist::somebody_works(views(now), silent_after());
  return somebody_works_ && now - heard_at_[0] <= silent_after();
}

std::optional<std::string> Heartbeats::trouble(double now) const {
  if (tripped_peer_) {
    return core::str("rank ", *tripped_peer_, " on ", setup_.hosts[*tripped_peer_], " gave up");
  }
  const auto all = views(now);
  for (size_t i = 0; i < all.size(); ++i) {
    if (!all[i].heard || all[i].left || all[i].silent_s <= setup_.silence_s) continue;
    return core::str("rank ", i, " on ", setup_.hosts[i], " has sent no heartbeat for ", seconds(all[i].silent_s),
                     "; the limit is ", seconds(setup_.silence_s));
  }
  return std::nullopt;
}

void Heartbeats::trip(double now) {
  if (tripped_at_) return;
  tripped_at_ = now;
  next_send_ = now + kTrippedPause;
  send_own(now);
}

std::optional<std::vector<Suspect>> Heartbeats::verdict(double now) {
  if (verdict_) return verdict_;
  if (!tripped_at_) return std::nullopt;
  if (is_root()) {
    if (now < *tripped_at_ + kGatherS) return std::nullopt;
    verdict_ = find_suspects(views(now), silent_after());
    send_own(now);
    return verdict_;
  }
  const bool root_is_silent = views_[0].heard && now - heard_at_[0] > silent_after();
  if (!root_is_silent && now < *tripped_at_ + kVerdictS) return std::nullopt;
  // Rank 0 alone knows of the others: without it, only its own silence can be told.
  std::vector<Suspect> out;
  if (root_is_silent) {
    out.push_back({0, Fault::kSilent, views_[0].state, static_cast<uint32_t>((now - heard_at_[0]) * 1000)});
  }
  return out;
}

void Heartbeats::leave(double now) {
  receive_all(now);
  leaving_ = true;
  for (int copy = 0; copy < 3; ++copy) send_own(now);  // one may be lost
}

}  // namespace snell::dist
