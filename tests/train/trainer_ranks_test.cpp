// One job on any number of ranks: losses as on one rank, every sample once an epoch, no byte moved but the trainables',
// and a checkpoint that any number of ranks goes on from.
#include <gtest/gtest.h>

#include <csignal>

#include "snell/core/signals.h"
#include "snell/dist/control_plane.h"
#include "snell/train/trained_model.h"
#include "train/small_job.h"

namespace snell::train {
namespace {

namespace fs = std::filesystem;

struct Outcome {
  testing::Watcher watcher;
  RunFacts facts;
  TrainResult result;
  std::vector<at::Tensor> averages, trained;
};

Outcome train(JobConfig job, dist::ControlPlane& control) {
  control.all_or_none([&] { fs::create_directories(job.run.dir); });
  Trainer trainer(job, "{}", control);
  Outcome out;
  trainer.add_hook(out.watcher);
  out.result = trainer.run();
  out.facts = trainer.facts();
  for (const auto& [name, tensor] : trainer.trained_ema()) out.averages.push_back(tensor.clone());
  for (const auto& [name, tensor] : trainer.trained()) out.trained.push_back(tensor.clone());
  return out;
}

class TrainerRanks : public testing::RanksTest {
 protected:
  // The same job on this process alone; every rank does it in a folder of its own.
  Outcome train_alone(JobConfig alone) const {
    alone.run.dir += "-alone-" + std::to_string(control_->rank());
    dist::SelfControlPlane self;
    return train(alone, self);
  }
  // Largest relative difference of the losses of steps [0, steps).
  static double difference(const Outcome& a, const Outcome& b, size_t steps) {
    double largest = 0;
    for (size_t i = 0; i < steps; ++i) {
      largest = std::max(largest, std::abs(a.watcher.losses[i] - b.watcher.losses[i]) / std::abs(b.watcher.losses[i]));
    }
    return largest;
  }
};

TEST_F(TrainerRanks, LossesAreThoseOfOneRankInFloat64) {
  for (const int64_t accumulate : {1, 2}) {
    JobConfig config = job("f64-" + std::to_string(accumulate), "float64");
    config.optim.accumulate = accumulate;
    config.train.max_steps = 50;
    const Outcome together = train(config, *control_);
    const Outcome alone = train_alone(config);
    ASSERT_EQ(together.watcher.losses.size(), 50u);
    EXPECT_LE(difference(together, alone, 50), 1e-12);
    EXPECT_LT(together.watcher.losses.back(), 0.9 * together.watcher.losses.front()) << "the loss must fall";
    EXPECT_DOUBLE_EQ(together.result.last->top1, alone.result.last->top1);
    EXPECT_EQ(together.result.last->num_samples, kSamples / 2);
  }
}

TEST_F(TrainerRanks, LossesAreThoseOfOneRankInFloat32) {
  JobConfig config = job("f32", "float32");
  config.train.max_steps = 50;
  const Outcome together = train(config, *control_);
  const Outcome alone = train_alone(config);
  EXPECT_LE(difference(together, alone, 10), 1e-5);
  EXPECT_LE(difference(together, alone, 50), 2e-3);
}

TEST_F(TrainerRanks, EverySampleOnceAnEpochAndOnlyTrainablesTravel) {
  JobConfig config = job("samples", "float32");
  config.train.epochs = 2;
  const Outcome out = train(config, *control_);
  EXPECT_EQ(out.watcher.samples, (std::vector<int64_t>{16, 16, 16, 5, 16, 16, 16, 5}));
  EXPECT_EQ(out.result.position.samples_seen, 2 * kSamples);
  for (const int64_t bytes : out.watcher.bytes) {
    EXPECT_EQ(bytes, control_->size() == 1 ? 0 : out.facts.trainable_elements * 4);
  }
}

TEST_F(TrainerRanks, GoesOnFromACheckpointOfAnotherNumberOfRanks) {
  JobConfig config = job("resumed", "float64");
  config.train.max_steps = 9;  // in the middle of the third epoch
  {
    dist::SelfControlPlane self;  // written by one rank
    control_->all_or_none([&] {
      if (control_->is_root()) train(config, self);
    });
  }
  config.train.max_steps = 20;
  const Outcome resumed = train(config, *control_);
  EXPECT_TRUE(resumed.facts.resumed_from.has_value());
  ASSERT_EQ(resumed.watcher.losses.size(), 11u);
  JobConfig whole = job("whole", "float64");
  whole.train.max_steps = 20;
  const Outcome undisturbed = train_alone(whole);
  for (size_t i = 0; i < 11; ++i) {
    EXPECT_NEAR(resumed.watcher.losses[i] / undisturbed.watcher.losses[9 + i], 1.0, 1e-12) << "step " << 9 + i;
  }
}

bool same_bits(const Outcome& a, const Outcome& b) {
  return a.watcher.losses == b.watcher.losses &&
         std::equal(a.trained.begin(), a.trained.end(), b.trained.begin(), b.trained.end(),
                    [](const at::Tensor& x, const at::Tensor& y) { return at::equal(x, y); });
}

TEST_F(TrainerRanks, ReproducibleRunsHaveEqualBitsOnAnyNumberOfRanks) {
  for (const std::string dtype : {"float32", "float64"}) {
    JobConfig config = job("reproducible-" + dtype, dtype);
    config.dist.reproducible = true;
    config.train.max_steps = 30;
    config.optim.clip_norm = 1;
    const Outcome together = train(config, *control_);
    const Outcome alone = train_alone(config);
    ASSERT_EQ(together.watcher.losses.size(), 30u);
    EXPECT_TRUE(same_bits(together, alone)) << dtype;
    EXPECT_LT(together.watcher.losses.back(), together.watcher.losses.front());
    config.dist.virtual_shards = 16;
    config.run.dir += "-16";
    EXPECT_FALSE(same_bits(train(config, *control_), alone)) << "the shards' number would not matter: " << dtype;
  }
}

TEST_F(TrainerRanks, AReproducibleRunKeepsItsBitsWhenItsNumberOfRanksChanges) {
  JobConfig config = job("reproducible-resumed", "float32");
  config.dist.reproducible = true;
  config.optim.ema.enabled = true;
  config.train.max_steps = 9;  // in the middle of an epoch
  {
    dist::SelfControlPlane self;
    control_->all_or_none([&] {
      if (control_->is_root()) train(config, self);
    });
  }
  config.train.max_steps = 20;
  const Outcome resumed = train(config, *control_);
  ASSERT_TRUE(resumed.facts.resumed_from.has_value());
  JobConfig whole = job("reproducible-whole", "float32");
  whole.dist.reproducible = true;
  whole.optim.ema.enabled = true;
  whole.train.max_steps = 20;
  Outcome undisturbed = train_alone(whole);
  undisturbed.watcher.losses.erase(undisturbed.watcher.losses.begin(), undisturbed.watcher.losses.begin() + 9);
  EXPECT_TRUE(same_bits(resumed, undisturbed));
  for (size_t i = 0; i < resumed.averages.size(); ++i) {
    EXPECT_TRUE(at::equal(resumed.averages[i], undisturbed.averages[i]));
  }
}

TEST_F(TrainerRanks, WhatAReproducibleRunCannotDoIsAConfigError) {
  const auto expect_refused = [&](const JobConfig& config, const std::string& setting) {
    try {
      train(config, *control_);
      FAIL() << setting;
    } catch (const dist::AgreedError& error) {
      EXPECT_EQ(error.exit_code(), core::ExitCode::kConfig);
      EXPECT_NE(std::string(error.what()).find(setting), std::string::npos) << error.what();
    }
  };
  JobConfig config = job("reproducible-wrong", "float32");
  config.dist.reproducible = true;
  config.optim.accumulate = 2;
  expect_refused(config, "optim.accumulate = 2");
  config.optim.accumulate = 1;
  config.dist.virtual_shards = 2 * control_->size() + 1;
  if (control_->size() > 1) expect_refused(config, "dist.virtual_shards = ");
}

// Asks this process to stop after a step, so that the next one is the last.
struct StopAfter : Hook {
  explicit StopAfter(int64_t step) : step_(step) {}
  void on_step(const StepEvent& event) override {
    if (event.position.step == step_) std::raise(SIGUSR1);
  }
  int64_t step_;
};

TEST_F(TrainerRanks, AStopAtTheEndOfAnEpochLosesNoEvaluation) {
  core::catch_signals();
  JobConfig config = job("stopped", "float64");
  config.train.epochs = 3;  // of four steps
  config.train.eval_interval = 1;
  control_->all_or_none([&] { fs::create_directories(config.run.dir); });
  {
    Trainer trainer(config, "{}", *control_);
    testing::Watcher watcher;
    StopAfter stop(control_->rank() == control_->size() - 1 ? 3 : -1);
    trainer.add_hook(watcher);
    trainer.add_hook(stop);
    EXPECT_EQ(trainer.run().stop_signal, SIGUSR1);
    EXPECT_EQ(trainer.position().epoch, 1);
    EXPECT_TRUE(watcher.evaluations.empty());
  }
  core::clear_stop_signal();
  const auto resumed = train(config, *control_).watcher.evaluations;
  config.run.dir = folder_ + "/undisturbed";
  const auto undisturbed = train_alone(config).watcher.evaluations;
  ASSERT_EQ(resumed.size(), 3u);
  ASSERT_EQ(undisturbed.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(resumed[i].position.step, undisturbed[i].position.step);
    EXPECT_EQ(resumed[i].lr, undisturbed[i].lr);
    EXPECT_EQ(resumed[i].is_best, undisturbed[i].is_best);
    EXPECT_NEAR(resumed[i].result.loss / undisturbed[i].result.loss, 1.0, 1e-12);
  }
}

std::vector<double> sparsities(const AllocationEvent& event) {
  std::vector<double> out;
  for (const auto& layer : event.layers) out.push_back(layer.sparsity);
  return out;
}

// Stopped between two epochs and within one; every loss, later sparsity and averaged weight as without the stop, to the
// last bit.
TEST_F(TrainerRanks, AllocatedSparsitiesAndAveragedWeightsAreAsBeforeAfterAResume) {
  JobConfig whole = job("allocated", "float32");
  whole.adapter.name = "snella";
  whole.adapter.sparsity = 0.1;
  whole.adapter.allocator.metric = "ipt";
  whole.adapter.allocator.target_sparsity = 0.9;
  whole.optim.ema.enabled = true;
  whole.optim.ema.decay = 0.8;
  whole.train.epochs = 5;  // of four steps
  const Outcome undisturbed = train(whole, *control_);
  ASSERT_EQ(undisturbed.watcher.allocations.size(), 4u);
  const auto last = sparsities(undisturbed.watcher.allocations.back());
  EXPECT_NE(last.front(), last.back());
  for (const int64_t stop : {8, 10}) {
    JobConfig config = whole;
    config.run.dir += "-" + std::to_string(stop);
    config.train.max_steps = stop;
    train(config, *control_);
    config.train.max_steps = 0;
    const Outcome resumed = train(config, *control_);
    ASSERT_TRUE(resumed.facts.resumed_from.has_value());
    ASSERT_EQ(resumed.watcher.losses.size(), static_cast<size_t>(20 - stop));
    for (size_t i = 0; i < resumed.watcher.losses.size(); ++i) {
      EXPECT_EQ(resumed.watcher.losses[i], undisturbed.watcher.losses[static_cast<size_t>(stop) + i])
          << stop << " " << i;
    }
    EXPECT_EQ(sparsities(resumed.watcher.allocations.back()), last);
    EXPECT_EQ(resumed.watcher.allocations.size(), stop == 8 ? 3u : 2u);
    ASSERT_FALSE(resumed.averages.empty());
    for (size_t i = 0; i < resumed.averages.size(); ++i) {
      EXPECT_TRUE(at::equal(resumed.averages[i], undisturbed.averages[i])) << stop << " " << i;
    }
    EXPECT_EQ(resumed.result.last_ema->loss, undisturbed.result.last_ema->loss);
  }
  EXPECT_NE(undisturbed.result.last_ema->loss, undisturbed.result.last->loss);
  EXPECT_GE(undisturbed.result.position.best_ema_top1, undisturbed.result.last_ema->top1);
  const auto trained = load_trained(whole, 4, "last", *control_);
  const auto averaged = load_trained(whole, 4, "last", *control_, "ema");
  for (size_t i = 0; i < last.size(); ++i) {
    const auto &branch = trained.model.branches[i].branch, &average = averaged.model.branches[i].branch;
    EXPECT_EQ(branch->sparsity(), last[i]);
    EXPECT_EQ(average->sparsity(), last[i]);
    const at::Tensor delta = branch->merged(), average_delta = average->merged();
    EXPECT_FALSE(at::equal(branch->factors()[0].tensor, average->factors()[0].tensor));
    EXPECT_EQ((delta != 0).sum().item<int64_t>(), (average_delta != 0).sum().item<int64_t>()) << "as sparse";
  }
  whole.optim.ema.enabled = false;
  EXPECT_THROW(load_trained(whole, 4, "last", *control_, "ema"), core::ConfigError);
}

TEST_F(TrainerRanks, ALossThatIsNotFiniteStopsAllRanksAlike) {
  JobConfig config = job("broken", "float32");
  config.optim.lr = 1e30;
  config.train.max_steps = 20;
  EXPECT_THROW(train(config, *control_), core::NonFiniteError);
}

}  // namespace
}  // namespace snell::train
