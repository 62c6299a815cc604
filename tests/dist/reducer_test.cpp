#include "snell/dist/reducer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snell/dist/control_plane.h"
#include "snell/dist/mpi_communicator.h"

namespace snell::dist {

namespace {

// Passes everything on and writes down the order of the reductions.
class Recorder : public Communicator {
 public:
  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  const char* name() const override { return inner_.name(); }
  std::unique_ptr<Work> all_reduce_async(at::Tensor tensor, ReduceOp op) override {
    sizes.push_back(tensor.numel());
    return inner_.all_reduce_async(std::move(tensor), op);
  }
  void broadcast(at::Tensor tensor, int root) override { inner_.broadcast(std::move(tensor), root); }
  std::unique_ptr<Work> all_gather_async(const at::Tensor& in, at::Tensor out) override {
    return inner_.all_gather_async(in, std::move(out));
  }
  std::unique_ptr<Work> reduce_scatter_async(const at::Tensor& in, at::Tensor out, ReduceOp op) override {
    return inner_.reduce_scatter_async(in, std::move(out), op);
  }
  void all_to_all(const at::Tensor& in, at::Tensor out) override { inner_.all_to_all(in, std::move(out)); }
  void barrier() override { inner_.barrier(); }
  int64_t bytes(const std::string& collective) const override { return inner_.bytes(collective); }

  std::vector<int64_t> sizes;

 private:
  MpiCommunicator inner_{"recorded"};
};

class ReducerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    rank_ = comm_.rank();
    size_ = comm_.size();
    for (int i = 0; i < 5; ++i) {
      trainables_.push_back({"layer" + std::to_string(i), at::full({i + 1, 3}, 0.5 + i, at::kDouble).requires_grad_()});
    }
  }

  at::Tensor& parameter(int i) { return trainables_[static_cast<size_t>(i)].tensor; }
  at::Tensor grad(int i) { return parameter(i).grad(); }

  // d/dp of weight · Σ p² / 2 is weight · p.
  at::Tensor loss_of(const std::vector<int>& used, double weight) {
    at::Tensor loss = at::zeros({}, at::kDouble);
    for (int i : used) loss = loss + weight * (parameter(i) * parameter(i)).sum() / 2;
    return loss;
  }
  void expect_grad(int i, double weight) {
    const at::Tensor wanted = parameter(i).detach() * weight;
    EXPECT_TRUE(grad(i).allclose(wanted, 1e-14, 0)) << "layer" << i << " on rank " << rank_;
  }
  void run_shard(Reducer& reducer, int64_t shard, bool last, const std::vector<int>& used, double weight) {
    reducer.begin(shard, last);
    loss_of(used, weight).backward();
    reducer.end();
  }

  Recorder comm_;
  std::vector<NamedTensor> trainables_;
  int rank_ = 0;
  int size_ = 1;
  int64_t bytes_before_ = 0;
  const std::vector<int> kAll = {0, 1, 2, 3, 4};
  double ranks_sum() const { return size_ * (size_ + 1) / 2.0; }  // Σ (rank + 1)
};

constexpr int64_t kBytes = 8 * 3;  // one row

}  // namespace

TEST_F(ReducerTest, SumsOverShardsAndRanksStepAfterStep) {
  BucketedReducer reducer(trainables_, comm_, 5 * kBytes);
  for (int step = 0; step < 3; ++step) {
    for (int shard = 0; shard < 4; ++shard) run_shard(reducer, shard, shard == 3, kAll, (rank_ + 1) * (shard + 1));
    reducer.finish();
    for (int i : kAll) expect_grad(i, ranks_sum() * 10);
  }
  EXPECT_EQ(reducer.stats().steps, 3);
  EXPECT_EQ(reducer.stats().bytes_per_step, 15 * kBytes);
  EXPECT_GE(reducer.stats().exposed_seconds, reducer.stats().last_exposed_seconds);
}

TEST_F(ReducerTest, BucketsAreCutInReverseOrderBySizeAndType) {
  trainables_.push_back({"float", at::ones({2}).requires_grad_()});
  trainables_.push_back({"empty", at::ones({0}).requires_grad_()});
  BucketedReducer reducer(trainables_, comm_, 5 * kBytes);
  run_shard(reducer, 0, true, kAll, 1);
  reducer.finish();
  // float and empty, layer4 alone, layer3 alone (3 rows more would pass the limit), layer2 with layer1
  EXPECT_THAT(comm_.sizes, ::testing::ElementsAre(2, 15, 12, 15, 3));
  EXPECT_EQ(reducer.stats().num_buckets, 5);
}

TEST_F(ReducerTest, ReducesBucketsDuringTheLastBackwardOnly) {
  BucketedReducer reducer(trainables_, comm_, 1);  // a bucket a parameter
  run_shard(reducer, 0, false, kAll, 1);
  EXPECT_THAT(comm_.sizes, ::testing::IsEmpty());
  run_shard(reducer, 1, true, kAll, 1);
  EXPECT_THAT(comm_.sizes, ::testing::ElementsAre(15, 12, 9, 6, 3)) << "handed over before finish()";
  reducer.finish();
  EXPECT_EQ(comm_.sizes.size(), 5u);
  for (int i : kAll) expect_grad(i, 2.0 * size_);
}

TEST_F(ReducerTest, AParameterUnusedOnSomeRanksContributesZeros) {
  BucketedReducer reducer(trainables_, comm_, 1);
  const std::vector<int> used = rank_ == 0 ? std::vector<int>{0, 1, 3, 4} : kAll;
  run_shard(reducer, 0, true, used, rank_ + 1);
  reducer.finish();
  for (int i : {0, 1, 3, 4}) expect_grad(i, ranks_sum());
  expect_grad(2, ranks_sum() - 1);
  EXPECT_THAT(comm_.sizes, ::testing::ElementsAre(15, 12, 9, 6, 3)) << "the same order on every rank";
}

TEST_F(ReducerTest, OrderOfHooksMayDifferBetweenRanks) {
  BucketedReducer reducer(trainables_, comm_, 1);
  std::vector<int> order = kAll;
  std::rotate(order.begin(), order.begin() + rank_, order.end());
  if (rank_ % 2 == 1) std::reverse(order.begin(), order.end());
  for (int step = 0; step < 2; ++step) {
    comm_.sizes.clear();
    reducer.begin(0, true);
    // The later a parameter enters the chain, the earlier backward reaches it.
    at::Tensor chain = at::ones({}, at::kDouble);
    for (int i : order) chain = chain + parameter(i).sum() * chain.detach();
    chain.backward();
    reducer.end();
    reducer.finish();
    EXPECT_THAT(comm_.sizes, ::testing::ElementsAre(15, 12, 9, 6, 3));
  }
}

TEST_F(ReducerTest, ARankWithoutShardsTakesPart) {
  BucketedReducer reducer(trainables_, comm_, 5 * kBytes);
  const bool idle = size_ > 1 && rank_ == size_ - 1;
  if (!idle) run_shard(reducer, 0, true, kAll, 1);
  reducer.finish();
  for (int i : kAll) expect_grad(i, size_ > 1 ? size_ - 1 : 1);
}

TEST_F(ReducerTest, GradientsAreViewsWhateverZeroGradDid) {
  BucketedReducer reducer(trainables_, comm_, 5 * kBytes);
  run_shard(reducer, 0, true, kAll, 1);
  reducer.finish();
  const void* address = grad(2).data_ptr();
  parameter(2).mutable_grad().reset();                          // set to none
  parameter(1).mutable_grad() = at::ones({2, 3}, at::kDouble);  // somebody's own
  parameter(0).mutable_grad().zero_();
  run_shard(reducer, 0, true, kAll, 3);
  reducer.finish();
  EXPECT_EQ(grad(2).data_ptr(), address);
  for (int i : kAll) expect_grad(i, 3.0 * size_);
}

TEST_F(ReducerTest, GradientsThatComeTooLateOrTwiceAreErrors) {
  BucketedReducer reducer(trainables_, comm_, 1);
  run_shard(reducer, 0, true, kAll, 1);
  EXPECT_THROW(loss_of({4}, 1).backward(), core::Error);
  reducer.finish();
  reducer.begin(0, true);
  loss_of({1}, 1).backward();  // its bucket waits for those before it
  EXPECT_THROW(loss_of({1}, 1).backward(), core::Error);
  reducer.end();
  reducer.finish();
}

TEST_F(ReducerTest, VerbsOutOfOrderAreErrors) {
  BucketedReducer reducer(trainables_, comm_, 1);
  EXPECT_THROW(reducer.end(), core::Error);
  reducer.begin(0, true);
  EXPECT_THROW(reducer.begin(1, true), core::Error);
  EXPECT_THROW(reducer.finish(), core::Error);
  reducer.end();
  EXPECT_THROW(reducer.begin(1, true), core::Error) << "after the last shard";
  reducer.finish();
}

TEST_F(ReducerTest, LeavesNoHooksBehind) {
  { BucketedReducer reducer(trainables_, comm_, 1); }
  EXPECT_NO_THROW(loss_of(kAll, 1).backward());
}

TEST_F(ReducerTest, RefusesWhatItCannotReduce) {
  EXPECT_THROW(BucketedReducer({{"frozen", at::ones({1})}}, comm_, 1), core::Error);
  if (size_ == 1) return;
  if (rank_ == 1) trainables_.pop_back();
  EXPECT_THROW(BucketedReducer(trainables_, comm_, 1), core::ReplicaError);
}

// Sevenths, which bfloat16's 8 bits round.
TEST_F(ReducerTest, GradientsMayTravelInAnotherType) {
  for (const auto wire : {at::kFloat, at::kBFloat16}) {
    BucketedReducer reducer(trainables_, comm_, 5 * kBytes, wire);
    for (int step = 0; step < 2; ++step) {
      for (int shard = 0; shard < 2; ++shard) run_shard(reducer, shard, shard == 1, kAll, (rank_ + 1) / 7.0);
      reducer.finish();
      double rounded = 0;
      for (int i : kAll) {
        const at::Tensor wanted = parameter(i).detach() * (2 * ranks_sum() / 7);
        rounded = std::max(rounded, (grad(i) / wanted - 1).abs().max().item<double>());
        EXPECT_EQ(grad(i).scalar_type(), at::kDouble);
      }
      const double half_a_bit = wire == at::kFloat ? 0x1p-24 : 0x1p-8;  // one rounding of each addend and of each sum
      EXPECT_LE(rounded, 2 * size_ * half_a_bit);
      EXPECT_EQ(rounded > half_a_bit / 100, size_ > 1) << "one rank's gradients are not rounded";
    }
    const int64_t element = size_ == 1 ? 8 : wire == at::kFloat ? 4 : 2;
    EXPECT_EQ(reducer.stats().bytes_per_step, 15 * 3 * element);
    EXPECT_EQ(comm_.bytes("all_reduce"), std::exchange(bytes_before_, comm_.bytes("all_reduce")) + 2 * 45 * element);
  }
}

TEST_F(ReducerTest, BucketsAreSmallEnoughToOverlap) {
  constexpr int64_t kMiB = 1 << 20;
  const auto of = [](int64_t bytes) { return std::vector<NamedTensor>{{"p", at::zeros({bytes / 4})}}; };
  EXPECT_EQ(bucket_bytes_for(of(400 * kMiB), 25 * kMiB), 25 * kMiB);
  EXPECT_EQ(bucket_bytes_for(of(24 * kMiB), 25 * kMiB), 3 * kMiB);
  EXPECT_EQ(bucket_bytes_for(of(kMiB), 25 * kMiB), kMiB);
  EXPECT_EQ(bucket_bytes_for({}, 25 * kMiB), kMiB);
}

TEST_F(ReducerTest, NothingToTrainIsFine) {
  BucketedReducer reducer({}, comm_, 1);
  reducer.begin(0, true);
  reducer.end();
  reducer.finish();
  EXPECT_EQ(reducer.stats().bytes_per_step, 0);
}

}  // namespace snell::dist
