// Frozen weights and optimizer state sharded over the ranks: what is trained has the bits that it has without, however
// the job is cut, stopped and dealt out anew; and no rank keeps more than its share.
#include <gtest/gtest.h>

#include "snell/ckpt/tensors.h"
#include "snell/dist/sharded_weights.h"
#include "snell/io/tensor_source.h"
#include "snell/train/frozen_storage.h"
#include "snell/train/model.h"
#include "snell/train/optimizer.h"
#include "train/small_job.h"

namespace snell::train {
namespace {

namespace fs = std::filesystem;

struct Outcome {
  testing::Watcher watcher;
  TrainResult result;
  RunFacts facts;
  std::vector<at::Tensor> trained, averages;
  int64_t bytes_fetched = 0;
};

struct FetchWatcher : testing::Watcher {
  int64_t bytes = 0;
  void on_step(const StepEvent& event) override {
    testing::Watcher::on_step(event);
    bytes += event.fetched.bytes;
  }
};

Outcome train(const JobConfig& job, dist::ControlPlane& control) {
  control.all_or_none([&] { fs::create_directories(job.run.dir); });
  Trainer trainer(job, "{}", control);
  FetchWatcher watcher;
  trainer.add_hook(watcher);
  Outcome out;
  out.result = trainer.run();
  out.facts = trainer.facts();
  out.watcher = watcher;
  out.bytes_fetched = watcher.bytes;
  for (const auto& [name, tensor] : trainer.trained()) out.trained.push_back(tensor.clone());
  for (const auto& [name, tensor] : trainer.trained_ema()) out.averages.push_back(tensor.clone());
  return out;
}

bool same_tensors(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const at::Tensor& x, const at::Tensor& y) { return at::equal(x, y); });
}

void expect_same_bits(const Outcome& a, const Outcome& b, const std::string& what) {
  EXPECT_EQ(a.watcher.losses, b.watcher.losses) << what;
  EXPECT_TRUE(same_tensors(a.trained, b.trained)) << what;
  EXPECT_TRUE(same_tensors(a.averages, b.averages)) << what;
  ASSERT_EQ(a.result.last.has_value(), b.result.last.has_value()) << what;
  if (a.result.last) {
    EXPECT_EQ(a.result.last->loss, b.result.last->loss) << what;
  }
}

class ShardedRanks : public testing::RanksTest {
 protected:
  JobConfig sharded(JobConfig config, const std::string& frozen = "full", bool optimizer = true) const {
    config.dist.shard.frozen = frozen;
    config.dist.shard.optimizer = optimizer;
    config.dist.wire.node_size = frozen == "hybrid" ? 2 : 0;
    config.run.dir += "-" + frozen;
    return config;
  }
  Outcome train_alone(JobConfig alone) const {
    alone.run.dir += "-alone-" + std::to_string(control_->rank());
    dist::SelfControlPlane self;
    return train(alone, self);
  }
  // "full" and, with nodes of two ranks, "hybrid".
  std::vector<std::string> kinds() const {
    return control_->size() > 2 ? std::vector<std::string>{"full", "hybrid"} : std::vector<std::string>{"full"};
  }
};

TEST_F(ShardedRanks, LossesAreThoseOfOneRank) {
  struct Case {
    std::string dtype;
    double tolerance;
    int64_t accumulate;
    bool checkpoint_blocks;
  };
  for (const auto& [dtype, tolerance, accumulate, checkpoint_blocks] :
       {Case{"float64", 1e-12, 1, false}, Case{"float64", 1e-12, 2, true}, Case{"float32", 2e-3, 1, true},
        Case{"float32", 2e-3, 2, false}}) {
    JobConfig config = job(core::str(dtype, "-", accumulate), dtype);
    config.optim.accumulate = accumulate;
    config.backbone.checkpoint_blocks = checkpoint_blocks;
    config.train.max_steps = 30;
    config.optim.clip_norm = 1;
    const Outcome plain = train(config, *control_), alone = train_alone(config);
    for (const auto& kind : kinds()) {
      const std::string what = core::str(dtype, " ", accumulate, " ", kind);
      const Outcome together = train(sharded(config, kind), *control_);
      expect_same_bits(together, plain, what);
      ASSERT_EQ(together.watcher.losses.size(), 30u);
      for (size_t i = 0; i < 30; ++i) {
        EXPECT_NEAR(together.watcher.losses[i] / alone.watcher.losses[i], 1, tolerance) << what << " step " << i;
      }
      EXPECT_EQ(together.bytes_fetched > 0, control_->size() > 1);
      EXPECT_EQ(plain.bytes_fetched, 0);
    }
  }
}

TEST_F(ShardedRanks, ReproducibleRunsKeepTheirBits) {
  JobConfig config = job("reproducible", "float32");
  config.dist.reproducible = true;
  config.train.max_steps = 30;
  config.optim.ema.enabled = true;
  const Outcome alone = train_alone(config);
  for (const auto& kind : kinds()) {
    const Outcome together = train(sharded(config, kind), *control_);
    EXPECT_EQ(together.watcher.losses, alone.watcher.losses) << kind;
    EXPECT_TRUE(same_tensors(together.trained, alone.trained)) << kind;
    EXPECT_TRUE(same_tensors(together.averages, alone.averages)) << kind;
  }
}

TEST_F(ShardedRanks, GoesOnFromACheckpointOfAnotherNumberOfRanks) {
  JobConfig config = job("resumed", "float32");
  config.dist.reproducible = true;
  config.train.max_steps = 9;
  JobConfig whole = job("whole", "float32");
  whole.dist.reproducible = true;
  whole.train.max_steps = 20;
  Outcome undisturbed = train_alone(whole);
  undisturbed.watcher.losses.erase(undisturbed.watcher.losses.begin(), undisturbed.watcher.losses.begin() + 9);

  train(sharded(config), *control_);  // written by all ranks, each its part of the state
  config.train.max_steps = 14;
  Outcome more;
  control_->all_or_none([&] {  // goes on with one
    dist::SelfControlPlane self;
    if (control_->is_root()) more = train(sharded(config), self);
  });
  config.train.max_steps = 20;
  const Outcome last = train(sharded(config), *control_);  // and again with all
  ASSERT_EQ(last.watcher.losses.size(), 6u);
  for (size_t i = 0; i < 11; ++i) {
    if (i < 5 && control_->is_root()) {
      EXPECT_EQ(more.watcher.losses.at(i), undisturbed.watcher.losses[i]) << i;
    }
    if (i >= 5) {
      EXPECT_EQ(last.watcher.losses.at(i - 5), undisturbed.watcher.losses[i]) << i;
    }
  }
  EXPECT_TRUE(same_tensors(last.trained, undisturbed.trained));
}

TEST_F(ShardedRanks, AllocationAveragesAndOtherBackbones) {
  JobConfig config = job("swin", "float64");
  config.backbone.name = "swin";
  config.backbone.patch_size = 2;
  config.backbone.embed_dim = 8;
  config.backbone.depths = {1, 2};
  config.backbone.window_size = 4;
  config.adapter.name = "snella";
  config.adapter.allocator.metric = "ipt";
  config.adapter.allocator.target_sparsity = 0.9;
  config.optim.ema.enabled = true;
  config.optim.name = "sgd";
  config.train.epochs = 8;
  config.train.eval_interval = 2;  // between passes of training
  expect_same_bits(train(sharded(config), *control_), train(config, *control_), "swin");
}

int64_t bytes_of(const at::Tensor& tensor) {
  return static_cast<int64_t>(tensor.nbytes());
}

TEST_F(ShardedRanks, ARankKeepsItsShare) {
  JobConfig config = sharded(job("share", "float32"));
  config.backbone.depth = 6;
  nn::TensorPlace place{at::kFloat, at::kCPU};
  place.storage = make_frozen_storage(config, place, *control_);
  const auto model = make_model(config, 4, place);
  ASSERT_EQ(place.storage != nullptr, control_->size() > 1);
  if (place.storage != nullptr) {
    model.backbone->forward(at::zeros({1, 3, 16, 16}), {});
    const auto stats = dynamic_cast<const dist::ShardedWeights&>(*place.storage).stats();
    const int64_t padding = 6 * 64 * 4;
    EXPECT_EQ(stats.weight_bytes, 6 * 12 * 32 * 32 * 4);
    EXPECT_LE(stats.shard_bytes, stats.weight_bytes / control_->size() + padding);
    EXPECT_LE(stats.buffer_bytes, 2 * (stats.weight_bytes / 6 + padding));
  }
  const auto communicator = dist::make_communicator(config.dist, *control_, at::kCPU, "test");
  const auto optimizer = make_optimizer(model.backbone->trainable(), config, *communicator);
  int64_t state = 0, here = 0, largest = 0;
  for (const auto& [name, tensor] : optimizer->state()) {
    state += bytes_of(tensor);
    here += tensor.is_meta() ? 0 : bytes_of(tensor);
    largest = std::max(largest, bytes_of(tensor));
  }
  EXPECT_GT(here, 0);
  EXPECT_LE(here, state / control_->size() + 2 * largest);  // two averages of one parameter
}

TEST_F(ShardedRanks, AWeightFileAndWhatItLacksGiveThePlainModelsValues) {
  JobConfig config = job("loaded", "float32");
  dist::SelfControlPlane self;
  config.backbone.weights = folder_ + "/weights.safetensors";
  control_->all_or_none([&] {
    if (!control_->is_root()) return;
    JobConfig source = job("source", "float32");
    source.seed = 99;
    const auto model = make_model(source, 4, {});
    std::vector<std::pair<std::string, io::HostTensor>> tensors;
    for (const auto& [name, tensor] : model.backbone->published()) {
      if (name != "blocks.1.mlp.fc1.weight" && name != "norm.weight") {
        tensors.emplace_back(name, ckpt::host_tensor(tensor));
      }
    }
    io::write_safetensors(config.backbone.weights, tensors);
  });
  config.backbone.allow_missing = {"blocks.1.mlp.fc1.weight", "norm.weight"};
  const auto plain = make_model(config, 4, {});
  nn::TensorPlace place{at::kFloat, at::kCPU};
  place.storage = make_frozen_storage(sharded(config), place, *control_);
  const auto model = make_model(config, 4, place);
  JobConfig drawn_config = config;
  drawn_config.backbone.weights.clear();
  const auto drawn = make_model(drawn_config, 4, {});
  const auto expected = plain.backbone->published(), found = model.backbone->published(),
             start = drawn.backbone->published();
  ASSERT_EQ(expected.size(), found.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto& name = expected[i].name;
    EXPECT_TRUE(at::equal(model.backbone->value_of(found[i]), expected[i].tensor)) << name;
    const bool as_drawn = name == "blocks.1.mlp.fc1.weight" || name == "norm.weight" || name.starts_with("head.");
    if (as_drawn) {
      EXPECT_TRUE(at::equal(expected[i].tensor, start[i].tensor)) << name;
    }
    if (name == "blocks.0.mlp.fc1.weight") {
      EXPECT_FALSE(at::equal(expected[i].tensor, start[i].tensor));
    }
  }
}

}  // namespace
}  // namespace snell::train
