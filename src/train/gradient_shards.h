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

// `num_shards`: of the ranks of `communicator` together. Collective.
inline std::unique_ptr<dist::Reducer> make_reducer(const dist::DistConfig& config,
                                                   std::vector<dist::NamedTensor> trainables,
                                                   dist::Communicator& communicator, int64_t num_shards) {
  if (config.reproducible) {
    return dist::make_ordered_reducer(std::move(trainables), communicator, num_shards);
  }
  return std::make_unique<dist::BucketedReducer>(std::move(trainables), communicator, config.bucket_mb << 20);
}

}  // namespace snell::train
