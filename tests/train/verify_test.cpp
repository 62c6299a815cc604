// One rank replays a run: equal where the run was sound; where a bit was not, the step and the virtual shard.
#include "snell/train/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <fstream>
#include <map>

#include "support/scratch.h"
#include "train/small_job.h"

namespace snell::train {
namespace {

namespace fs = std::filesystem;
using Kind = Difference::Kind;
using ::testing::ElementsAre;

constexpr int64_t kShards = 4;

class Verify : public ::testing::Test {
 protected:
  Verify() { testing::write_pictures(scratch_ / "pictures.h5", 29); }

  // Tiny, and a partial last batch: four steps an epoch, checkpoints after steps 3 and 6.
  JobConfig job(const std::string& name) const {
    JobConfig job = testing::small_job(scratch_ / "pictures.h5", scratch_ / name, "float32");
    job.backbone.depth = 1;
    job.backbone.embed_dim = 16;
    job.data.batch_size = 8;
    job.data.workers = 0;
    job.train.max_steps = 6;
    job.checkpoint.every_steps = 3;
    job.dist.reproducible = true;
    job.dist.virtual_shards = kShards;
    return job;
  }

  // The config as the program writes it, so that a replay can read it back.
  static std::string json_of(const JobConfig& job) {
    const nlohmann::json config = {
        {"seed", job.seed},
        {"run", {{"dir", job.run.dir}, {"device", "cpu"}}},
        {"backbone",
         {{"image_size", 16},
          {"patch_size", 8},
          {"embed_dim", job.backbone.embed_dim},
          {"depth", job.backbone.depth},
          {"num_heads", 2}}},
        {"adapter",
         {{"name", job.adapter.name},
          {"rank", 8},
          {"sparsity", job.adapter.sparsity},
          {"allocator",
           {{"metric", job.adapter.allocator.metric}, {"target_sparsity", job.adapter.allocator.target_sparsity}}}}},
        {"data",
         {{"file", job.data.file},
          {"batch_size", job.data.batch_size},
          {"workers", 0},
          {"transform", {{"train", "small_train"}, {"eval", "none"}, {"size", 16}}}}},
        {"optim",
         {{"lr", job.optim.lr},
          {"ema", {{"enabled", job.optim.ema.enabled}}},
          {"schedule", {{"name", job.optim.schedule.name}, {"warmup_epochs", 0}}}}},
        {"train", {{"epochs", job.train.epochs}, {"eval_interval", 0}, {"eval_last", 1}}},
        {"dist", {{"reproducible", true}, {"virtual_shards", kShards}}},
        {"checkpoint", {{"every_steps", 3}, {"every_epochs", 0}}}};
    return config.dump();
  }

  static void train(const JobConfig& job, dist::ShardObserver observer = {}, Hook* hook = nullptr,
                    const std::function<void(const Trainer&)>& look = {}) {
    fs::create_directories(job.run.dir);
    dist::SelfControlPlane self;
    Trainer trainer(job, json_of(job), self, {std::nullopt, std::move(observer)});
    if (look) look(trainer);
    if (hook != nullptr) trainer.add_hook(*hook);
    trainer.run();
  }

  static VerifyRequest all_of(const JobConfig& job) {
    VerifyRequest request;
    request.run_dir = job.run.dir;
    request.all = true;
    return request;
  }

  static VerifyResult verify(const VerifyRequest& request) {
    return verify_run(
        request, [](const VerifyPlan&) {}, [](int64_t) {});
  }

  // Writes a run's chain anew, with one record changed and all links fitting.
  static void rewrite_chain(const JobConfig& job, int64_t step, const std::function<void(ChainRecord&)>& change) {
    const std::string path = job.run.dir + "/" + kChainName;
    const Chain chain = read_chain(path);
    ChainWriter writer(path, chain.parts.front(), false, "");
    for (ChainRecord record : chain.records) {
      if (record.step == step) change(record);
      writer.add(record);
    }
  }

  test::Scratch scratch_;
};

std::map<std::string, std::string> files_of(const std::string& folder) {
  std::map<std::string, std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    const auto bytes = io::read_file(entry.path(), 1 << 30, io::raise_data_error);
    out[entry.path()] = core::hash128(bytes).hex();
  }
  return out;
}

TEST_F(Verify, ASoundRunIsEqualAndStaysAsItIs) {
  const JobConfig config = job("sound");
  train(config);
  const auto before = files_of(config.run.dir);
  const VerifyResult result = verify(all_of(config));
  EXPECT_TRUE(result.equal());
  EXPECT_THAT(result.plan.steps, ElementsAre(1, 2, 3, 4, 5, 6));
  ASSERT_EQ(result.plan.stretches.size(), 2u);
  EXPECT_EQ(result.plan.stretches[1].from.step, 3);
  EXPECT_EQ(files_of(config.run.dir), before);
}

// The whole of SNELLA: thresholds that change between epochs, importances, averages.
TEST_F(Verify, ReplaysAllocatedSparsitiesAndAverages) {
  JobConfig config = job("allocated");
  config.adapter.name = "snella";
  config.adapter.sparsity = 0.1;
  config.adapter.allocator.metric = "ipt";
  config.adapter.allocator.target_sparsity = 0.9;
  config.optim.ema.enabled = true;
  config.train.epochs = 4;
  config.train.max_steps = 16;
  config.checkpoint.keep = 3;
  train(config);
  const Chain chain = read_chain(config.run.dir + "/" + kChainName);
  EXPECT_TRUE(verify(all_of(config)).equal());
}

float flipped(float value, int bit) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) ^ (uint32_t{1} << bit));
}

TEST_F(Verify, LocatesOneFlippedGradientBitInHundredOfHundredTrials) {
  core::RandomStream random({2026, core::Purpose::kTest, 0, 0, 0});
  int located = 0;
  for (int trial = 0; trial < 100; ++trial) {
    JobConfig config = job("flip-" + std::to_string(trial));
    config.train.max_steps = 4;
    config.checkpoint.every_steps = 2;
    const int64_t step = 1 + random.below(4), shard = random.below(kShards);
    int64_t calls = 0;
    bool done = false;
    train(config, [&](int64_t id, const at::Tensor& gradients) {
      const bool due = calls++ / kShards + 1 == step && id == shard;
      while (due && !done) {
        float& value = gradients.data_ptr<float>()[random.below(static_cast<uint32_t>(gradients.numel()))];
        const float other = flipped(value, static_cast<int>(random.below(32)));
        // Not one that makes the norm infinite: the run itself ends there (exit code 5).
        if (std::abs(other) > 1e6f || std::isnan(other)) continue;
        value = other;
        done = true;
      }
    });
    const VerifyResult result = verify(all_of(config));
    located += result.differences.size() == 1 && result.differences[0].step == step &&
               result.differences[0].kind == Kind::kShards &&
               result.differences[0].shards == std::vector<int64_t>{shard};
    fs::remove_all(config.run.dir);
  }
  EXPECT_EQ(located, 100);
}

TEST_F(Verify, SaysWhichStageOfAStepWentWrong) {
  const JobConfig config = job("stages");
  train(config);
  const std::string chain = config.run.dir + "/" + kChainName;
  fs::copy_file(chain, chain + ".sound");
  const auto found = [&](const std::function<void(ChainRecord&)>& change) {
    fs::copy_file(chain + ".sound", chain, fs::copy_options::overwrite_existing);
    rewrite_chain(config, 2, change);
    const VerifyResult result = verify(all_of(config));
    EXPECT_EQ(result.plan.stretches.size(), 1u) << "checkpoints that the chain does not lead to";
    EXPECT_EQ(result.differences.size(), 1u);
    EXPECT_EQ(result.differences.at(0).step, 2);
    return result.differences.at(0).kind;
  };
  EXPECT_EQ(found([](ChainRecord& r) { r.shards[0].low ^= 1; }), Kind::kShards);
  EXPECT_EQ(found([](ChainRecord& r) {
              for (auto& hash : r.shards) hash.low ^= 1;
            }),
            Kind::kAllShards);
  EXPECT_EQ(found([](ChainRecord& r) { r.sum.low ^= 1; }), Kind::kSum);
  EXPECT_EQ(found([](ChainRecord& r) { r.state.low ^= 1; }), Kind::kUpdate);
  EXPECT_EQ(found([](ChainRecord& r) { r.loss = std::nextafter(r.loss, 0); }), Kind::kLoss);
}

// Changes a tensor of the run after a step, behind the loop's back.
struct Damage : Hook {
  explicit Damage(int64_t step) : step_(step) {}
  void on_step(const StepEvent& event) override {
    if (event.position.step != step_) return;
    const c10::AutoGradMode no_grad(false);
    tensor.view(-1)[0].mul_(1.001);
  }
  at::Tensor tensor;
  int64_t step_;
};

TEST_F(Verify, ParametersThatChangeBetweenTwoStepsShowInAllShards) {
  const JobConfig config = job("between");
  Damage damage(4);
  train(config, {}, &damage, [&](const Trainer& trainer) { damage.tensor = trainer.trained().front().tensor; });
  const VerifyResult result = verify(all_of(config));
  ASSERT_EQ(result.differences.size(), 1u);
  EXPECT_EQ(result.differences[0].kind, Kind::kAllShards);
  EXPECT_EQ(result.differences[0].step, 5);
}

TEST_F(Verify, WhatTheHashOfAStepLeavesOutIsComparedAtCheckpoints) {
  JobConfig config = job("averages");
  config.optim.ema.enabled = true;
  Damage damage(2);
  train(config, {}, &damage, [&](const Trainer& trainer) { damage.tensor = trainer.trained_ema().front().tensor; });
  const VerifyResult result = verify(all_of(config));
  ASSERT_EQ(result.differences.size(), 1u);
  EXPECT_EQ(result.differences[0].kind, Kind::kCheckpoint);
  EXPECT_EQ(result.differences[0].step, 3);
  EXPECT_THAT(result.differences[0].tensor, ::testing::StartsWith("ema/"));
}

TEST_F(Verify, GoesOnOverAPartOfOtherSettings) {
  JobConfig config = job("two-rates");
  config.train.max_steps = 5;
  config.checkpoint.keep_best = false;
  train(config);
  config.optim.lr = 5e-3;
  config.train.max_steps = 8;
  config.checkpoint.keep = 1;  // only the last one stays
  train(config);
  const VerifyResult result = verify(all_of(config));
  EXPECT_TRUE(result.equal());
  ASSERT_EQ(result.plan.stretches.size(), 1u);
  EXPECT_EQ(result.plan.num_replayed(), 8);
}

TEST_F(Verify, AKilledRunHasTheChainOfAnUndisturbedOne) {
  JobConfig config = job("killed");
  config.train.max_steps = 5;
  train(config);
  fs::remove_all(config.run.dir + "/checkpoints/step-0000000005");  // killed after step 5: step 3 was saved
  config.train.max_steps = 6;
  train(config);
  const JobConfig undisturbed = job("undisturbed");
  train(undisturbed);
  const Chain chain = read_chain(config.run.dir + "/" + kChainName);
  EXPECT_EQ(chain.parts.size(), 2u);
  EXPECT_EQ(chain.link_after(6), read_chain(undisturbed.run.dir + "/" + kChainName).link_after(6));
  EXPECT_TRUE(verify(all_of(config)).equal());
}

TEST_F(Verify, AnotherRunsChainStopsAResume) {
  JobConfig config = job("exchanged"), other = job("other");
  other.seed = 6;
  train(config);
  train(other);
  fs::copy_file(other.run.dir + "/" + kChainName, config.run.dir + "/" + kChainName,
                fs::copy_options::overwrite_existing);
  config.train.max_steps = 7;
  try {
    train(config);
    FAIL();
  } catch (const dist::AgreedError& error) {
    EXPECT_EQ(error.exit_code(), core::ExitCode::kWeights);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("is another run's"));
  }
}

TEST_F(Verify, SaysFromWhichStepOnItCanReplay) {
  JobConfig config = job("late");
  config.dist.chain = "false";
  config.train.max_steps = 3;
  train(config);
  EXPECT_THROW(verify(all_of(config)), core::WeightsError) << "no chain";
  config.dist.chain = "auto";
  config.train.max_steps = 8;
  config.checkpoint.keep = 3;
  train(config);
  EXPECT_EQ(verify(all_of(config)).plan.first, 4);
  VerifyRequest request = all_of(config);
  request.all = false;
  request.steps = {2};
  try {
    verify(request);
    FAIL();
  } catch (const core::ConfigError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("step 2 cannot be replayed: steps 4 to 8 can"));
  }
  request.steps = {8};
  EXPECT_TRUE(verify(request).equal());
}

TEST_F(Verify, RefusesWhereEqualBitsCannotBeExpected) {
  JobConfig config = job("other-machine");
  train(config);
  const std::string path = config.run.dir + "/" + kChainName;
  const Chain chain = read_chain(path);
  ChainPart part = chain.parts.front();
  part.facts.instruction_set = "neon";
  {
    ChainWriter writer(path, part, false, "");
    for (const ChainRecord& record : chain.records) writer.add(record);
  }
  VerifyRequest request = all_of(config);
  try {
    verify(request);
    FAIL();
  } catch (const core::WeightsError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("the instruction set was 'neon' and is '"));
  }
  request.anyway = true;
  EXPECT_TRUE(verify(request).equal());
}

TEST(VerifyPlan, StartsFromTheLastStateBeforeEachStep) {
  const std::vector<Start> starts{{0, ""}, {10, "a"}, {20, "b"}};
  VerifyRequest request;
  request.steps = {20, 3, 21, 12, 5};
  const VerifyPlan plan = plan_verification(starts, 25, request);
  EXPECT_THAT(plan.steps, ElementsAre(3, 5, 12, 20, 21));
  ASSERT_EQ(plan.stretches.size(), 3u);
  EXPECT_EQ(plan.stretches[0].to, 5);
  EXPECT_EQ(plan.stretches[1].from.checkpoint, "a");
  EXPECT_EQ(plan.stretches[1].to, 20);
  EXPECT_EQ(plan.stretches[2].to, 21);
  EXPECT_EQ(plan.num_replayed(), 5 + 10 + 1);
}

TEST(VerifyPlan, DrawsStepsThatCanBeReplayedEachOnce) {
  const std::vector<Start> starts{{10, "a"}};
  VerifyRequest request;
  request.seed = 3;
  const auto steps = plan_verification(starts, 50, request).steps;
  EXPECT_EQ(steps.size(), 10u);
  EXPECT_EQ(std::adjacent_find(steps.begin(), steps.end(), std::greater_equal<>()), steps.end());
  EXPECT_GE(steps.front(), 11);
  EXPECT_LE(steps.back(), 50);
  request.seed = 4;
  EXPECT_NE(plan_verification(starts, 50, request).steps, steps);
  request.num_steps = 1000;
  EXPECT_EQ(plan_verification(starts, 50, request).steps.size(), 40u);
  EXPECT_THROW(plan_verification({}, 50, request), core::WeightsError);
  EXPECT_THROW(plan_verification({{50, "a"}}, 50, request), core::WeightsError);
}

}  // namespace
}  // namespace snell::train
