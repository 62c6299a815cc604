// The exchange of heartbeats: rank 0 answers every rank's; each rank so knows of rank 0, and rank 0 of all. When one
// gives up, all learn it at once, and rank 0 tells them whom to blame.
//
// One thread, the watchdog's. Time is the caller's, in seconds of a clock that stands still while this process does.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "snell/dist/heartbeat.h"
#include "udp_socket.h"

namespace snell::dist {

struct HeartbeatSetup {
  uint32_t rank = 0;
  std::vector<std::string> hosts;  // of each rank
  HeartbeatToken token{};
  std::vector<sockaddr_in> root_addresses;  // where rank 0 may be reached
  double interval_s = 5;                    // between two heartbeats
  double silence_s = 120;                   // that nobody may exceed
};

class Heartbeats {
 public:
  Heartbeats(HeartbeatSetup setup, UdpSocket socket, double now);

  int fd() const { return socket_.fd(); }
  // Sends what is due and takes in what came.
  void tick(double now, const RankState& own);

  // Why this rank must give up, as far as others are concerned.
  std::optional<std::string> trouble(double now) const;
  // Whether a rank does something of its own, as far as is known: then a rank that waits for it has no reason to give
  // up, as that rank's own limit ends what hangs.
  bool somebody_works(double now) const;
  // Whether rank 0 ever answered.
  bool reached_root() const { return setup_.rank == 0 || views_[0].heard; }

  // Tells the others that this rank gives up.
  void trip(double now);
  // Known some moments after trip(); nothing: not yet.
  std::optional<std::vector<Suspect>> verdict(double now);
  // Tells the others that this rank ends in the ordinary way.
  void leave(double now);

 private:
  double silent_after() const;  // when somebody is to be blamed
  bool is_root() const { return setup_.rank == 0; }
  void receive_all(double now);
  void take(const Heartbeat& beat, const sockaddr_in& from, double now);
  void send_own(double now);
  void send_to(const sockaddr_in& to, double now);
  std::vector<RankView> views(double now) const;

  const HeartbeatSetup setup_;
  UdpSocket socket_;
  RankState own_;
  std::vector<RankView> views_;  // silent_s is worked out by views()
  std::vector<double> heard_at_;
  std::vector<uint64_t> numbers_;
  std::vector<std::optional<sockaddr_in>> addresses_;  // a rank other than 0 knows rank 0's only
  std::optional<uint32_t> tripped_peer_;
  uint64_t next_number_ = 1;
  double next_send_ = 0;
  std::optional<double> tripped_at_;
  bool leaving_ = false, somebody_works_ = false;
  std::optional<std::vector<Suspect>> verdict_;
};

}  // namespace snell::dist
