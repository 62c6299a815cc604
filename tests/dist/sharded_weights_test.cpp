// Sharded frozen weights: values, memory, the order of gathers, and what they refuse.
#include "snell/dist/sharded_weights.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "snell/core/error.h"
#include "snell/dist/config.h"

namespace snell::dist {
namespace {

// Like a transformer's: a wide weight, a square one, and shapes that no number of ranks divides.
const std::vector<std::vector<std::pair<int64_t, int64_t>>> kBlocks{
    {{48, 16}, {16, 16}, {7, 5}}, {{48, 16}, {3, 3}}, {{96, 32}}, {{1, 1}, {33, 17}}, {{48, 16}, {16, 16}, {7, 5}}};

at::Tensor value_of(size_t block, size_t weight, at::ScalarType type) {
  const auto [out, in] = kBlocks[block][weight];
  const double first = 100.0 * static_cast<double>(block) + 10.0 * static_cast<double>(weight);
  return (at::arange(out * in, at::kDouble) / 7 + first).view({out, in}).to(type);
}

class ShardedWeightsTest : public testing::Test {
 protected:
  void make(const ShardedTypes& types) {
    control_ = make_control_plane();
    communicator_ = make_communicator({}, *control_, types.device, "weights");
    store_ = std::make_unique<ShardedWeights>(communicator_, types);
    types_ = types;
    for (size_t b = 0; b < kBlocks.size(); ++b) {
      for (size_t w = 0; w < kBlocks[b].size(); ++w) {
        const auto [out, in] = kBlocks[b][w];
        store_->add({name(b, w), "blocks." + std::to_string(b), out, in});
      }
    }
    for (size_t b = 0; b < kBlocks.size(); ++b) {
      for (size_t w = 0; w < kBlocks[b].size(); ++w) weight(b, w).set(value_of(b, w, types.compute));
    }
  }
  static std::string name(size_t block, size_t weight) { return std::to_string(block) + "." + std::to_string(weight); }
  core::StoredWeight& weight(size_t block, size_t w) const { return *store_->find(name(block, w)); }

  // All weights of a block, one after the other, as a layer takes them.
  void use(size_t block) const {
    for (size_t w = 0; w < kBlocks[block].size(); ++w) {
      const at::Tensor found = weight(block, w).acquire();
      EXPECT_EQ(found.scalar_type(), types_.compute);
      EXPECT_TRUE(at::equal(found, value_of(block, w, types_.compute).to(types_.stored).to(types_.compute)))
          << block << " " << w;
      weight(block, w).release();
    }
  }
  // A step with block checkpointing: forward, and in the backward pass each block twice.
  void use_as_step() const {
    for (size_t b = 0; b < kBlocks.size(); ++b) use(b);
    for (size_t b = kBlocks.size(); b-- > 0;) {
      use(b);
      use(b);
    }
  }

  std::unique_ptr<ControlPlane> control_;
  std::shared_ptr<Communicator> communicator_;
  std::unique_ptr<ShardedWeights> store_;
  ShardedTypes types_;
};

TEST_F(ShardedWeightsTest, GivesEveryTypeBack) {
  for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    make({type, type, at::kCPU});
    use_as_step();
  }
  make({at::kBFloat16, at::kFloat, at::kCPU});
  use_as_step();
}

TEST_F(ShardedWeightsTest, KeepsItsShareAndTwoBlocks) {
  make({});
  use_as_step();
  const int64_t ranks = control_->size();
  const ShardedStats stats = store_->stats();
  int64_t plain = 0, resident = 0;
  for (size_t b = 0; b < kBlocks.size(); ++b) {
    for (size_t w = 0; w < kBlocks[b].size(); ++w) {
      plain += 4 * weight(b, w).out_features() * weight(b, w).in_features();
      resident += weight(b, w).resident_bytes();
    }
  }
  // Padding: 64 elements at the end of a weight and of a slice.
  EXPECT_LE(stats.shard_bytes, plain / ranks + 64 * 4 * static_cast<int64_t>(kBlocks.size()) * 4);
  EXPECT_LE(resident, stats.shard_bytes);
  EXPECT_EQ(stats.buffer_bytes, ranks == 1 ? 0 : 2 * stats.largest_block_bytes);
  int64_t all = 0;
  for (const int64_t bytes : control_->all_gather_ints(resident)) all += bytes;
  EXPECT_EQ(all, plain) << "every element lies on one rank";
}

TEST_F(ShardedWeightsTest, ForeseesTheOrderOfSteps) {
  make({});
  use_as_step();
  const auto num_blocks = static_cast<int64_t>(kBlocks.size());
  const ShardedStats first = store_->stats();
  if (control_->size() == 1) {
    EXPECT_EQ(first.gathers, 0);
    EXPECT_FALSE(store_->is_collective());
    return;
  }
  EXPECT_TRUE(store_->is_collective());
  EXPECT_EQ(first.unforeseen, 1) << "but for the very first block, the next one in either direction is guessed";
  use_as_step();
  use_as_step();
  const ShardedStats later = store_->stats();
  EXPECT_EQ(later.unforeseen, first.unforeseen);
  // The last block of a pass is the first one of the next, and the one before it is still there, too.
  EXPECT_LE(later.gathers - first.gathers, 2 * (2 * num_blocks - 2));
  EXPECT_GE(later.gathers - first.gathers, 2 * (2 * num_blocks - 4));
  EXPECT_EQ(later.fetched.bytes, communicator_->bytes("all_gather") * (control_->size() - 1));
  // Evaluation has no backward pass: found wrong once at each end, then known.
  for (int pass = 0; pass < 3; ++pass) {
    for (size_t b = 0; b < kBlocks.size(); ++b) use(b);
  }
  const int64_t unforeseen = store_->stats().unforeseen;
  EXPECT_LE(unforeseen, later.unforeseen + 2);
  for (size_t b = 0; b < kBlocks.size(); ++b) use(b);
  EXPECT_EQ(store_->stats().unforeseen, unforeseen);
}

TEST_F(ShardedWeightsTest, AnyOrderIsRight) {
  make({});
  uint32_t draw = 12345;
  for (int i = 0; i < 200; ++i) {
    draw = draw * 1664525u + 1013904223u;  // the same on every rank
    use(draw >> 8 & 3);
  }
  EXPECT_LE(store_->stats().buffer_bytes, 2 * store_->stats().largest_block_bytes);
}

TEST_F(ShardedWeightsTest, RefusesWhatWouldOverwriteAHeldBlock) {
  make({});
  EXPECT_THROW(weight(0, 0).set(at::empty({2, 2})), core::Error);
  if (control_->size() == 1) return;
  EXPECT_THROW(weight(0, 0).release(), core::Error);
  use_as_step();
  weight(0, 0).acquire();
  weight(2, 0).acquire();
  EXPECT_THROW(weight(4, 0).acquire(), core::Error);
}

TEST_F(ShardedWeightsTest, CountsOnTheMetaDevice) {
  class Nothing : public Communicator {
   public:
    int rank() const override { return 3; }
    int size() const override { return 8; }
    const char* name() const override { return "nothing"; }
    std::unique_ptr<Work> all_reduce_async(at::Tensor, ReduceOp) override { return nullptr; }
    void broadcast(at::Tensor, int) override {}
    std::unique_ptr<Work> all_gather_async(const at::Tensor&, at::Tensor) override { return nullptr; }
    std::unique_ptr<Work> reduce_scatter_async(const at::Tensor&, at::Tensor, ReduceOp) override { return nullptr; }
    void all_to_all(const at::Tensor&, at::Tensor) override {}
    void barrier() override {}
    int64_t bytes(const std::string&) const override { return 0; }
  };
  ShardedWeights store(std::make_shared<Nothing>(), {at::kFloat, at::kFloat, at::kMeta});
  const auto one = store.add({"a.weight", "a", 64, 128}), other = store.add({"b.weight", "b", 128, 128});
  one->set(at::empty({64, 128}, at::device(at::kMeta)));
  EXPECT_EQ(one->acquire().sizes(), (std::vector<int64_t>{64, 128}));
  one->release();
  other->acquire();
  other->release();
  EXPECT_EQ(store.stats().shard_bytes, (64 + 128) * 128 * 4 / 8);
  EXPECT_EQ(store.stats().buffer_bytes, 2 * 128 * 128 * 4);
}

}  // namespace
}  // namespace snell::dist
