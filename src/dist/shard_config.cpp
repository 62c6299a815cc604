#include "snell/dist/shard_config.h"

#include "snell/config/binder.h"

namespace snell::dist {

void bind(config::Binder& binder, ShardConfig& config) {
  binder.field("shard_frozen", config.frozen,
               "who keeps the frozen projection weights: none, every rank all; full, each of the N ranks 1/N, gathered "
               "block by block where they are used; hybrid, the same within each node",
               config::one_of({"none", "full", "hybrid"}));
  binder.field("shard_optimizer", config.optimizer,
               "each rank keeps the optimizer's state of 1/N of the trainables, updates them, and sends them round");
}

}  // namespace snell::dist
