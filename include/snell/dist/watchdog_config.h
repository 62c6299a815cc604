// The section `dist.watchdog` of the config.
#pragma once

#include <cstdint>
#include <string>

namespace snell::config {
class Binder;
}

namespace snell::dist {

struct WatchdogConfig {
  bool enabled = true;
  double floor_s = 120;
  double first_floor_s = 1800;
  double factor = 10;
  double heartbeat_s = 5;
  std::string address;  // "": every address of rank 0's host
  int64_t straggler_every = 100;
  double straggler_factor = 1.5;
};

void bind(config::Binder& binder, WatchdogConfig& config);

}  // namespace snell::dist
