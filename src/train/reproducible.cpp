#include "snell/train/reproducible.h"

#include "snell/core/error.h"

namespace snell::train {

RunConfig with_fixed_threads(RunConfig run, const dist::DistConfig& dist) {
  if (dist.reproducible && run.threads == 0) run.threads = 1;
  return run;
}

void check_reproducible(const JobConfig& config, int64_t ranks) {
  if (!config.dist.reproducible) return;
  if (config.dist.virtual_shards % ranks != 0) {
    throw core::ConfigError(core::str("dist.virtual_shards = ", config.dist.virtual_shards, " cannot be dealt to ",
                                      ranks, " ranks alike; take a number of ranks that divides it"));
  }
  if (config.optim.accumulate != 1) {
    throw core::ConfigError(
        core::str("optim.accumulate = ", config.optim.accumulate,
                  " has no meaning with dist.reproducible=true, whose ranks go through their virtual "
                  "shards one by one: raise dist.virtual_shards instead"));
  }
}

bool keeps_chain(const dist::DistConfig& config, c10::Device device) {
  if (config.chain == "true" && !config.reproducible) {
    throw core::ConfigError(
        "dist.chain = true: a chain is of use only where steps can be replayed bit by bit; set dist.reproducible=true "
        "too, or dist.chain=auto");
  }
  return config.chain == "true" || (config.chain == "auto" && config.reproducible && device.is_cpu());
}

}  // namespace snell::train
