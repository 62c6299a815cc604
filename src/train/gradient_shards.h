// Into how many shards a global batch is cut, and who sums their gradients.
#pragma once

#include <memory>
#include <vector>

#include "snell/dist/ordered_reducer.h"
#include "snell/train/job_config.h"

namespace snell::train {

inline int64_t num_shards(const JobConfig& config, int64_t ranks) {
  return config.dist.reproducible ? config.dist.virtual_shards : ranks * config.optim.accumulate;
}

// `num_shards`: of the ranks of `communicator` together. The observers are dist.reproducible's. Collective.
inline std::unique_ptr<dist::Reducer> make_reducer(const dist::DistConfig& config,
                                                   std::vector<dist::NamedTensor> trainables,
                                                   dist::Communicator& communicator, int64_t num_shards,
                                                   dist::ShardObserver shard_observer = {},
                                                   dist::SumObserver sum_observer = {}) {
  if (config.reproducible) {
    return dist::make_ordered_reducer(std::move(trainables), communicator, num_shards, std::move(shard_observer),
                                      std::move(sum_observer));
  }
  const int64_t bucket_bytes = dist::bucket_bytes_for(trainables, config.bucket_mb << 20);
  return std::make_unique<dist::BucketedReducer>(std::move(trainables), communicator, bucket_bytes,
                                                 dist::wire_type(config.wire));
}

}  // namespace snell::train
