#include "snell/dist/wire_config.h"

#include "snell/config/binder.h"

namespace snell::dist {

void bind(config::Binder& binder, WireConfig& config) {
  binder.field("node_size", config.node_size,
               "so many consecutive ranks count as a node; 0: those that share a machine", config::at_least(0));
  binder.field("two_level", config.two_level,
               "sum gradients within a node, then across nodes; auto: where there are several nodes of several ranks",
               config::one_of({"auto", "always", "never"}));
  binder.field("reduce_dtype", config.reduce_dtype,
               "type in which gradients travel and are summed; auto: their own. bfloat16 halves float32's bytes, and "
               "rounds every sum to 8 bits",
               config::one_of({"auto", "float32", "bfloat16"}));
  binder.field("init_timeout_s", config.init_timeout_s, "seconds that the ranks wait for each other when NCCL starts",
               config::in_range(1, 86400));
}

std::optional<c10::ScalarType> wire_type(const WireConfig& config) {
  if (config.reduce_dtype == "float32") return c10::ScalarType::Float;
  if (config.reduce_dtype == "bfloat16") return c10::ScalarType::BFloat16;
  return std::nullopt;
}

}  // namespace snell::dist
