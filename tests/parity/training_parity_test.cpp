// Learning-rate schedule, losses, and forty steps of AdamW against the published code's numbers.
#include <gtest/gtest.h>

#include <fstream>

#include "parity/fixture_step.h"
#include "snell/train/schedule.h"
#include "support/model_fixture.h"

namespace snell::train {
namespace {

TEST(ScheduleParity, EveryEpoch) {
  std::ifstream file(test::fixture_folder() + "/lr_schedule.json");
  const auto entries = nlohmann::json::parse(file);
  ASSERT_FALSE(entries.empty());
  for (const auto& entry : entries) {
    ScheduleConfig schedule;
    schedule.stepping = "reference";
    schedule.warmup_epochs = entry.at("warmup_epochs");
    schedule.warmup_lr = entry.at("warmup_lr");
    schedule.min_lr = entry.at("min_lr");
    const int64_t epochs = entry.at("epochs");
    const auto expected = entry.at("lr_used_in_epoch").get<std::vector<double>>();
    for (size_t epoch = 0; epoch < expected.size(); ++epoch) {
      EXPECT_NEAR(learning_rate(schedule, entry.at("lr"), epochs, static_cast<int64_t>(epoch)) / expected[epoch], 1.0,
                  1e-12)
          << epochs << " epochs, epoch " << epoch;
    }
  }
}

TEST(ScheduleParity, SteppingBeforeIsOneEpochAhead) {
  ScheduleConfig reference, before;
  reference.stepping = "reference";
  for (int64_t epoch = 0; epoch < 29; ++epoch) {
    EXPECT_EQ(learning_rate(before, 1e-3, 30, epoch), learning_rate(reference, 1e-3, 30, epoch + 1));
  }
}

TEST(LossParity, MeanOverTheBatch) {
  const test::Fixture fixture(test::fixture_folder() + "/losses.safetensors");
  for (const auto& [dtype, tolerance] : {std::pair{at::kDouble, 1e-9}, std::pair{at::kFloat, 1e-5}}) {
    const at::Tensor logits = fixture.tensor("logits", dtype), labels = fixture.tensor("labels");
    const double count = static_cast<double>(labels.size(0));
    const auto mean = [&](const at::Tensor& targets, double smoothing) {
      return (cross_entropy_sum(logits, targets, smoothing) / count).reshape({1});
    };
    EXPECT_RELATIVE(mean(labels, 0), fixture.tensor("ce"), tolerance, "ce");
    EXPECT_RELATIVE(mean(labels, 0.1), fixture.tensor("label_smoothing_0.1"), tolerance, "label_smoothing_0.1");
    EXPECT_RELATIVE(mean(fixture.tensor("soft_targets", dtype), 0), fixture.tensor("soft_target"), tolerance, "soft");
  }
}

// Through the trainer's own step: model, reducer, optimizer with decay groups.
void check_trajectory(at::ScalarType dtype, double loss_tolerance, double parameter_tolerance) {
  for (const auto& path : test::fixture_files({"trajectory_vit_snell"})) {
    SCOPED_TRACE(path);
    const test::Fixture fixture(path);
    auto model = test::make_model(fixture, "snell", fixture.number("num_classes"), dtype);
    test::load_parameters(model, fixture, "start.");
    const FixtureStep take_step(*model.backbone, fixture, dtype);
    const at::Tensor expected = fixture.tensor("losses");
    std::vector<double> losses;
    for (int64_t step = 0; step < expected.numel(); ++step) {
      losses.push_back(take_step(step % take_step.num_batches(), step));
    }
    EXPECT_RELATIVE(at::tensor(losses, at::kDouble), expected, loss_tolerance, "losses");
    if (parameter_tolerance == 0) continue;
    for (const auto& [name, tensor] : model.backbone->trainable()) {
      EXPECT_RELATIVE(tensor, fixture.tensor("end." + name), parameter_tolerance, name);
    }
  }
}

TEST(TrajectoryParity, Float64) {
  check_trajectory(at::kDouble, 1e-9, 1e-9);
}
TEST(TrajectoryParity, Float32Losses) {
  check_trajectory(at::kFloat, 1e-4, 0);
}

}  // namespace
}  // namespace snell::train
