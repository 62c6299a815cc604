#include "snell/dist/config.h"

#include "snell/config/binder.h"

namespace snell::dist {

void bind(config::Binder& binder, DistConfig& config) {
  binder.field("backend", config.backend, "what moves tensors between ranks; auto: self, nccl (CUDA) or mpi (CPU)",
               config::one_of({"auto", "self", "mpi", "nccl"}));
  binder.field("bucket_mb", config.bucket_mb, "gradients are reduced in buckets of at most so many MiB",
               config::in_range(1, 4096));
  binder.field("check_replicas_every", config.check_replicas_every,
               "compare the trainable parameters of all ranks every so many steps; 0: never", config::at_least(0));
  binder.field(
      "reproducible", config.reproducible,
      "equal bits on any number of ranks: gradients of virtual_shards parts of the global batch are summed in a "
      "fixed tree");
  binder.field(
      "virtual_shards", config.virtual_shards,
      "of dist.reproducible: parts of the global batch, a multiple of the number of ranks; another number gives "
      "other last digits",
      config::in_range(1, 65536));
  bind(binder, config.shard);
  bind(binder, config.wire);
  binder.field("chain", config.chain,
               "keep the hashes of each step's gradients and parameters in the run's chain.jsonl, for snell verify; "
               "auto: with dist.reproducible on a CPU",
               config::one_of({"auto", "true", "false"}));
  binder.section("watchdog", config.watchdog);
}

}  // namespace snell::dist
