#include "snell/dist/watchdog_config.h"

#include "snell/config/binder.h"
#include "udp_socket.h"

namespace snell::dist {

void bind(config::Binder& binder, WatchdogConfig& config) {
  binder.field("enabled", config.enabled, "end the job with exit code 124 when a rank hangs or falls silent");
  binder.field("floor_s", config.floor_s,
               "no phase's limit is shorter; also how long a rank may send no heartbeat (seconds)",
               config::in_range(1, 1e6));
  binder.field("first_floor_s", config.first_floor_s,
               "the same for the first time of each kind of phase, of which nothing is known (seconds)",
               config::in_range(1, 1e6));
  binder.field("factor", config.factor, "a phase may last so many times the slowest of its kind so far",
               config::in_range(1, 1e6));
  binder.field("heartbeat_s", config.heartbeat_s, "seconds between two heartbeats of a rank",
               config::in_range(0.1, 3600));
  binder.field("address", config.address,
               "IPv4 address of rank 0's host that heartbeats go to; \"\": the first of its addresses that answers "
               "(the environment's SNELL_HEARTBEAT_ADDRESS on rank 0 comes first)");
  binder.field("straggler_every", config.straggler_every,
               "compare the ranks' times of each section every so many steps; 0: never", config::at_least(0));
  binder.field("straggler_factor", config.straggler_factor,
               "a rank is called a straggler from so many times the median on", config::in_range(1, 1e6));
  binder.require(config.address.empty() || make_address(config.address, 1), "address",
                 "must be an IPv4 address of rank 0's host, such as 10.0.0.1, or empty");
  binder.require(config.floor_s >= 3 * config.heartbeat_s, "floor_s",
                 "must be at least three times heartbeat_s, or one lost heartbeat would end the job");
}

}  // namespace snell::dist
