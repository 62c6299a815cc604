#include "snell/data/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "snell/core/error.h"

namespace snell::data {

TEST(Order, IsAPermutationThatDependsOnSeedAndEpochOnly) {
  const auto order = shuffled_order(1000, 3, 7);
  EXPECT_EQ(order, shuffled_order(1000, 3, 7));
  EXPECT_NE(order, shuffled_order(1000, 4, 7));
  EXPECT_NE(order, shuffled_order(1000, 3, 8));
  auto sorted = order;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted, plain_order(1000));
  EXPECT_TRUE(shuffled_order(0, 1, 1).empty());
}

// Part of what makes an old run reproducible: must never change.
TEST(Order, KnownAnswer) {
  EXPECT_EQ(shuffled_order(8, 42, 0), (std::vector<uint32_t>{5, 7, 0, 6, 2, 3, 1, 4}));
}

TEST(Order, EveryPlaceIsEquallyLikely) {
  constexpr int kEpochs = 20000;
  int counts[5][5] = {};
  for (int epoch = 0; epoch < kEpochs; ++epoch) {
    const auto order = shuffled_order(5, 1, epoch);
    for (int i = 0; i < 5; ++i) ++counts[i][order[i]];
  }
  for (const auto& row : counts) {
    for (int count : row) EXPECT_NEAR(count, kEpochs / 5, 260);  // 4.6 sigma
  }
}

TEST(BatchPlan, CoversEverySlotOnceWhateverTheNumberOfRanks) {
  for (int64_t n : {0, 1, 2, 5, 31, 32, 33, 100}) {
    for (int64_t batch : {1, 3, 8, 32, 101}) {
      for (int64_t shards : {1, 2, 4, 8, 12}) {
        std::vector<std::vector<ShardSlots>> of_one;  // [step] with one rank
        for (int64_t ranks : {1, 2, 4}) {
          if (shards % ranks != 0) continue;
          const BatchPlan plan(n, batch, shards, ranks);
          ASSERT_EQ(plan.num_steps(), (n + batch - 1) / batch);
          int64_t next = 0;
          for (int64_t step = 0; step < plan.num_steps(); ++step) {
            std::vector<ShardSlots> all;
            for (int64_t rank = 0; rank < ranks; ++rank) {
              const auto mine = plan.shards(step, rank);
              ASSERT_EQ(static_cast<int64_t>(mine.size()), shards / ranks);
              all.insert(all.end(), mine.begin(), mine.end());
            }
            const int64_t start = next;
            for (int64_t id = 0; id < shards; ++id) {
              ASSERT_EQ(all[id].id, id);
              ASSERT_EQ(all[id].first, next);
              ASSERT_GE(all[id].last, next);
              ASSERT_LE(all[id].last - all[id].first, (batch + shards - 1) / shards);
              next = all[id].last;
            }
            ASSERT_EQ(next - start, plan.global_count(step));
            if (ranks == 1) of_one.push_back(all);
            ASSERT_EQ(all, of_one[step]);
          }
          ASSERT_EQ(next, n);
        }
      }
    }
  }
}

TEST(BatchPlan, DropsThePartialBatchWhenTold) {
  EXPECT_EQ(BatchPlan(33, 8, 2, 2).num_steps(), 5);
  EXPECT_EQ(BatchPlan(33, 8, 2, 2).global_count(4), 1);
  EXPECT_EQ(BatchPlan(33, 8, 2, 2, true).num_steps(), 4);
  EXPECT_EQ(BatchPlan(7, 8, 1, 1, true).num_steps(), 0);
}

TEST(BatchPlan, RefusesWhatDoesNotFit) {
  EXPECT_THROW(BatchPlan(10, 8, 3, 2), core::ConfigError);
  EXPECT_THROW(BatchPlan(10, 0, 2, 2), core::ConfigError);
  EXPECT_THROW(BatchPlan(10, 8, 0, 2), core::ConfigError);
  EXPECT_THROW(BatchPlan(int64_t{1} << 32, 8, 2, 2), core::Error);
  EXPECT_THROW(BatchPlan(10, 8, 2, 2).shards(2, 0), core::Error);
  EXPECT_THROW(BatchPlan(10, 8, 2, 2).shards(0, 2), core::Error);
}

}  // namespace snell::data
