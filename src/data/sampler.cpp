#include "snell/data/sampler.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "snell/core/error.h"
#include "snell/core/random.h"

namespace snell::data {

std::vector<uint32_t> plain_order(int64_t num_samples) {
  std::vector<uint32_t> order(static_cast<size_t>(num_samples));
  std::iota(order.begin(), order.end(), 0U);
  return order;
}

std::vector<uint32_t> shuffled_order(int64_t num_samples, uint64_t seed, int64_t epoch) {
  std::vector<uint32_t> order = plain_order(num_samples);
  core::RandomStream random({seed, core::Purpose::kShuffle, static_cast<uint32_t>(epoch), 0, 0});
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(static_cast<uint32_t>(i))]);
  return order;
}

BatchPlan::BatchPlan(int64_t num_samples, int64_t batch_size, int64_t num_shards, int64_t num_ranks, bool drop_last)
    : num_samples_(num_samples), batch_size_(batch_size), num_shards_(num_shards), num_ranks_(num_ranks) {
  core::check(num_samples >= 0 && num_samples <= std::numeric_limits<uint32_t>::max(),
              core::str("a split of ", num_samples, " samples; slots have 32 bits"));
  core::check(num_ranks >= 1, core::str("a plan for ", num_ranks, " ranks"));
  if (batch_size < 1 || batch_size > std::numeric_limits<uint32_t>::max()) {
    throw core::ConfigError(core::str("data.batch_size = ", batch_size, " must be at least 1"));
  }
  if (num_shards < 1 || num_shards > std::numeric_limits<uint32_t>::max() || num_shards % num_ranks != 0) {
    throw core::ConfigError(core::str("a global batch in ", num_shards, " shards cannot be dealt to ", num_ranks,
                                      " ranks alike: the number of shards must be a multiple of the number of ranks"));
  }
  num_steps_ = drop_last ? num_samples / batch_size : (num_samples + batch_size - 1) / batch_size;
}

int64_t BatchPlan::global_count(int64_t step) const {
  core::check(step >= 0 && step < num_steps_, core::str("step ", step, " of an epoch of ", num_steps_));
  return std::min(batch_size_, num_samples_ - step * batch_size_);
}

std::vector<ShardSlots> BatchPlan::shards(int64_t step, int64_t rank) const {
  core::check(rank >= 0 && rank < num_ranks_, core::str("rank ", rank, " of ", num_ranks_));
  const int64_t count = global_count(step);
  const int64_t start = step * batch_size_;
  const int64_t per_rank = num_shards_ / num_ranks_;
  std::vector<ShardSlots> out;
  for (int64_t id = rank * per_rank; id < (rank + 1) * per_rank; ++id) {
    out.push_back({id, start + id * count / num_shards_, start + (id + 1) * count / num_shards_});
  }
  return out;
}

}  // namespace snell::data
