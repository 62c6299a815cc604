// Part of the section `dist`: what is shared out over the ranks instead of kept by each.
#pragma once

#include <string>

namespace snell::config {
class Binder;
}

namespace snell::dist {

struct ShardConfig {
  std::string frozen = "none";  // none, full, hybrid
  bool optimizer = false;
};

// Its keys stand in `dist` itself.
void bind(config::Binder& binder, ShardConfig& config);

}  // namespace snell::dist
