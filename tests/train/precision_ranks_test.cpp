// Training with a 16-bit backbone on any number of ranks: losses near float32's, and float16's loss scale.
#include <gtest/gtest.h>

#include "snell/dist/control_plane.h"
#include "train/small_job.h"

namespace snell::train {
namespace {

namespace fs = std::filesystem;

struct Watcher : testing::Watcher {
  int64_t skipped = 0;
  double scale = 0;
  void on_step(const StepEvent& event) override {
    testing::Watcher::on_step(event);
    skipped = event.stats.skipped_steps;
    scale = event.stats.loss_scale;
  }
};

struct Outcome {
  Watcher watcher;
  std::vector<ckpt::TensorRef> trained;
  std::optional<std::string> resumed_from;
};

class PrecisionRanks : public testing::RanksTest {
 protected:
  JobConfig job(const std::string& run, const std::string& dtype, int64_t steps) const {
    JobConfig config = RanksTest::job(run, dtype);
    config.train.max_steps = steps;
    return config;
  }
  Outcome train(const JobConfig& config) {
    control_->all_or_none([&] { fs::create_directories(config.run.dir); });
    Trainer trainer(config, "{}", *control_);
    Outcome out;
    trainer.add_hook(out.watcher);
    trainer.run();
    out.trained = trainer.trained();
    out.resumed_from = trainer.facts().resumed_from;
    return out;
  }
};

TEST_F(PrecisionRanks, LossesStayNearThoseOfFloat32) {
  const Outcome exact = train(job("float32", "float32", 20));
  for (const auto& [dtype, bound] : {std::pair{"bfloat16", 0.05}, std::pair{"float16", 0.01}}) {
    JobConfig config = job(dtype, dtype, 20);
    config.optim.loss_scale = 1024;  // no step is skipped
    const Outcome rounded = train(config);
    double worst = 0;
    for (size_t i = 0; i < 20; ++i) {
      worst = std::max(worst, std::abs(rounded.watcher.losses[i] / exact.watcher.losses[i] - 1));
    }
    EXPECT_LE(worst, bound) << dtype;
    EXPECT_EQ(rounded.watcher.skipped, 0) << dtype;
    for (const auto& [name, tensor] : rounded.trained) {
      EXPECT_EQ(tensor.scalar_type(), name.starts_with("param/") ? at::kFloat : at::kDouble) << name;
    }
  }
}

// First steps whose gradients overflow are skipped, the scale halved, and all of it survives the checkpoint.
TEST_F(PrecisionRanks, Float16GoesOnBitForBit) {
  const auto with_overflow = [&](const std::string& run, int64_t steps) {
    JobConfig config = job(run, "float16", steps);
    config.optim.loss_scale = 262144;
    return config;
  };
  const Outcome whole = train(with_overflow("whole", 20));
  train(with_overflow("parts", 7));
  const Outcome rest = train(with_overflow("parts", 20));
  ASSERT_TRUE(rest.resumed_from.has_value());
  EXPECT_GT(whole.watcher.skipped, 0);
  EXPECT_LT(whole.watcher.scale, 262144);
  EXPECT_EQ(rest.watcher.skipped, whole.watcher.skipped);
  EXPECT_EQ(rest.watcher.scale, whole.watcher.scale);
  ASSERT_EQ(rest.watcher.losses.size(), 13u);
  for (size_t i = 0; i < 13; ++i) EXPECT_EQ(rest.watcher.losses[i], whole.watcher.losses[7 + i]) << "step " << 7 + i;
  ASSERT_EQ(rest.trained.size(), whole.trained.size());
  for (size_t i = 0; i < whole.trained.size(); ++i) {
    EXPECT_TRUE(at::equal(rest.trained[i].tensor, whole.trained[i].tensor)) << whole.trained[i].name;
  }
}

TEST_F(PrecisionRanks, ABrokenFloat16RunStopsOnAllRanksAlike) {
  JobConfig config = job("broken", "float16", 60);
  config.optim.lr = 1e30;
  EXPECT_THROW(train(config), core::NonFiniteError);
}

}  // namespace
}  // namespace snell::train
