// Whole training runs on a GPU: the CPU's losses, NCCL and sharding without a change of bits, resume, 16-bit types.
#include <gtest/gtest.h>

#include "train/small_job.h"

namespace snell::train {
namespace {

namespace fs = std::filesystem;

class TrainerGpu : public testing::RanksTest {
 protected:
  JobConfig on_gpu(const std::string& run, const std::string& dtype) const {
    JobConfig config = job(run, dtype);
    config.run.device = "cuda";
    config.train.max_steps = 30;
    return config;
  }
  testing::Watcher train(const JobConfig& config) {
    fs::create_directories(config.run.dir);
    Trainer trainer(config, "{}", *control_);
    testing::Watcher watcher;
    trainer.add_hook(watcher);
    trainer.run();
    return watcher;
  }
};

double difference(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    largest = std::max(largest, std::abs(a[i] - b[i]) / std::abs(b[i]));
  }
  return largest;
}

TEST_F(TrainerGpu, LossesAreTheCpus) {
  for (const auto& [dtype, tolerance] : {std::pair<std::string, double>{"float64", 1e-10}, {"float32", 2e-3}}) {
    const testing::Watcher gpu = train(on_gpu("gpu-" + dtype, dtype));
    JobConfig config = on_gpu("cpu-" + dtype, dtype);
    config.run.device = "cpu";
    const testing::Watcher cpu = train(config);
    ASSERT_EQ(gpu.losses.size(), 30u);
    EXPECT_LE(difference(gpu.losses, cpu.losses), tolerance) << dtype;
    EXPECT_LT(gpu.losses.back(), 0.9 * gpu.losses.front()) << "the loss must fall";
    EXPECT_NEAR(gpu.evaluations.back().result.top1, cpu.evaluations.back().result.top1, 4) << dtype;
  }
}

// One rank: every bucket goes through NCCL as a sum of one summand.
TEST_F(TrainerGpu, NcclChangesNothing) {
  const testing::Watcher plain = train(on_gpu("plain", "float64"));
  JobConfig nccl = on_gpu("nccl", "float64");
  nccl.dist.backend = "nccl";
  EXPECT_LE(difference(train(nccl).losses, plain.losses), 1e-12);
}

TEST_F(TrainerGpu, AResumedRunGoesOn) {
  const testing::Watcher whole = train(on_gpu("whole", "float64"));
  JobConfig config = on_gpu("parts", "float64");
  config.train.max_steps = 12;
  std::vector<double> losses = train(config).losses;
  config.train.max_steps = 21;
  config.run.device = "cpu";  // a checkpoint knows no device
  for (const double loss : train(config).losses) losses.push_back(loss);
  config.train.max_steps = 30;
  config.run.device = "cuda";
  for (const double loss : train(config).losses) losses.push_back(loss);
  EXPECT_LE(difference(losses, whole.losses), 1e-10);
}

TEST_F(TrainerGpu, SixteenBitTypesLearn) {
  const testing::Watcher wide = train(on_gpu("wide", "float32"));
  for (const std::string dtype : {"bfloat16", "float16"}) {
    const testing::Watcher narrow = train(on_gpu(dtype, dtype));
    EXPECT_NEAR(narrow.losses.front(), wide.losses.front(), 0.05) << dtype;
    EXPECT_LT(narrow.losses.back(), 0.95 * narrow.losses.front()) << dtype;
  }
}

TEST_F(TrainerGpu, ReproducibleRunsAreTheCpus) {
  JobConfig config = on_gpu("virtual-gpu", "float64");
  config.dist.reproducible = true;
  config.dist.virtual_shards = 4;
  const testing::Watcher gpu = train(config);
  config.run.dir += "-cpu";
  config.run.device = "cpu";
  EXPECT_LE(difference(gpu.losses, train(config).losses), 1e-10);
}

}  // namespace
}  // namespace snell::train
