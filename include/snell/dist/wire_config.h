// Part of the section `dist`: how gradients travel between ranks.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string>

namespace snell::config {
class Binder;
}

namespace snell::dist {

struct WireConfig {
  int64_t node_size = 0;
  std::string two_level = "auto";
  std::string reduce_dtype = "auto";
  double init_timeout_s = 600;
};

// Its keys stand in `dist` itself.
void bind(config::Binder& binder, WireConfig& config);

// The type of dist.reduce_dtype; nothing for "auto", the gradients' own.
std::optional<c10::ScalarType> wire_type(const WireConfig& config);

}  // namespace snell::dist
