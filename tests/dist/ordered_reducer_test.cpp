#include "snell/dist/ordered_reducer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "snell/core/error.h"
#include "snell/core/random.h"
#include "snell/dist/mpi_communicator.h"
#include "snell/dist/self_communicator.h"

namespace snell::dist {
namespace {

// Numbers of many magnitudes: their sum depends on its order in most entries.
at::Tensor numbers(int64_t shard, int64_t numel) {
  at::Tensor out = at::empty({numel}, at::kFloat);
  core::RandomStream random({3, core::Purpose::kTest, static_cast<uint32_t>(shard), 0, 0});
  float* at = out.data_ptr<float>();
  for (int64_t i = 0; i < numel; ++i) at[i] = static_cast<float>(random.uniform(-1, 1) * std::pow(10, i % 7));
  return out;
}

// One step over this rank's shards; returns the gradients, one after another.
at::Tensor one_step(Communicator& communicator, int64_t num_shards, ShardObserver observer = {},
                    SumObserver sum_observer = {}) {
  const std::vector<int64_t> sizes{5, 1, 12};
  std::vector<NamedTensor> trainables;
  for (const int64_t n : sizes) {
    trainables.push_back({"p" + std::to_string(n), at::zeros({n}, at::kFloat).requires_grad_()});
  }
  const auto reducer =
      make_ordered_reducer(trainables, communicator, num_shards, std::move(observer), std::move(sum_observer));
  const int64_t each = num_shards / communicator.size();
  at::Tensor out;
  for (int step = 0; step < 2; ++step) {  // the second starts from nothing again
    for (int64_t i = 0; i < each; ++i) {
      const int64_t shard = communicator.rank() * each + i;
      reducer->begin(shard, i + 1 == each);
      const at::Tensor weights = numbers(shard, 18);
      int64_t offset = 0;
      for (const auto& [name, tensor] : trainables) {
        (tensor * weights.narrow(0, offset, tensor.numel())).sum().backward();
        offset += tensor.numel();
      }
      reducer->end();
    }
    reducer->finish();
    std::vector<at::Tensor> grads;
    for (const auto& [name, tensor] : trainables) grads.push_back(tensor.grad());
    out = at::cat(grads);
  }
  EXPECT_EQ(reducer->stats().steps, 2);
  return out;
}

at::Tensor tree_sum(int64_t first, int64_t last) {
  if (last - first == 1) return numbers(first, 18);
  int64_t left = 1;
  while (2 * left < last - first) left *= 2;
  return tree_sum(first, first + left) + tree_sum(first + left, last);
}

TEST(OrderedReducer, AddsInATreeThatKnowsNothingOfRanks) {
  MpiCommunicator communicator("ordered");
  SelfCommunicator self;
  for (const int64_t num_shards : {4, 8, 12, 20}) {  // powers of two and others
    const at::Tensor expected = tree_sum(0, num_shards);
    EXPECT_TRUE(at::equal(one_step(communicator, num_shards), expected)) << num_shards << " shards";
    EXPECT_TRUE(at::equal(one_step(self, num_shards), expected)) << num_shards << " shards, one rank";
  }
  at::Tensor in_turn = numbers(0, 18);
  for (int64_t shard = 1; shard < 8; ++shard) in_turn = in_turn + numbers(shard, 18);
  EXPECT_FALSE(at::equal(tree_sum(0, 8), in_turn)) << "the order would not matter";
}

TEST(OrderedReducer, TellsOfEachShardBeforeItIsAdded) {
  SelfCommunicator self;
  std::vector<int64_t> seen;
  one_step(self, 3, [&](int64_t shard, const at::Tensor& gradients) {
    seen.push_back(shard);
    EXPECT_TRUE(at::equal(gradients, numbers(shard, 18)));
  });
  EXPECT_THAT(seen, ::testing::ElementsAre(0, 1, 2, 0, 1, 2));
}

TEST(OrderedReducer, TellsOfTheSum) {
  MpiCommunicator communicator("ordered.sum");
  int sums = 0;
  one_step(communicator, 8, {}, [&](const at::Tensor& gradients) {
    ++sums;
    EXPECT_TRUE(at::equal(gradients, tree_sum(0, 8)));
  });
  EXPECT_EQ(sums, 2);
}

TEST(OrderedReducer, CountsWhatItHandsOver) {
  MpiCommunicator communicator("ordered.bytes");
  const int64_t R = communicator.size();
  const int64_t slice = (18 + R - 1) / R, steps = R == 1 ? 0 : 2;  // one rank hands over nothing
  const int64_t dealt = communicator.bytes("all_to_all"), gathered = communicator.bytes("all_gather");
  one_step(communicator, 8);
  // Of powers of two each rank's shards are one partial sum.
  EXPECT_EQ(communicator.bytes("all_to_all") - dealt, steps * R * slice * 4);
  const int64_t layout = 16;  // a hash of names, shapes and types, when the reducer is built
  EXPECT_EQ(communicator.bytes("all_gather") - gathered, steps * slice * 4 + (R == 1 ? 0 : layout));
}

TEST(OrderedReducer, VerbsOutOfTurnAreErrors) {
  SelfCommunicator self;
  const std::vector<NamedTensor> trainables{{"p", at::zeros({2}, at::kFloat).requires_grad_()}};
  const auto reducer = make_ordered_reducer(trainables, self, 2);
  EXPECT_THROW(reducer->end(), core::Error);
  EXPECT_THROW(reducer->begin(1, false), core::Error) << "shard 0 is due";
  reducer->begin(0, false);
  EXPECT_THROW(reducer->begin(1, true), core::Error);
  EXPECT_THROW(reducer->finish(), core::Error);
  reducer->end();
  EXPECT_THROW(reducer->finish(), core::Error) << "shard 1 is missing";
  reducer->begin(1, true);
  trainables[0].tensor.mutable_grad() = at::full({2}, 1.0f);
  EXPECT_THROW(reducer->end(), core::Error) << "not the reducer's gradient";
}

}  // namespace
}  // namespace snell::dist
