// Which checkpoints stay.
#include <gmock/gmock.h>

#include "ckpt/support.h"
#include "snell/ckpt/checkpoint.h"
#include "snell/core/text.h"

namespace snell::ckpt {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::StartsWith;

class Policy : public ::testing::Test {
 protected:
  void save_step(int64_t step, bool best = false) { save(run_.path(), make_state(step), control_, config_, best); }
  std::string folder(int64_t step) { return root() + core::str("/step-000000000", step); }
  std::string root() { return run_.path() + "/checkpoints"; }

  TempFolder run_;
  dist::SelfControlPlane control_;
  CheckpointConfig config_;
};

TEST_F(Policy, KeepsTheNewestAndTheBest) {
  save_step(1);
  save_step(2, true);
  save_step(3);
  save_step(4);
  save_step(5);
  EXPECT_THAT(names_in(root()), ElementsAre("step-0000000002", "step-0000000004", "step-0000000005"));
  EXPECT_EQ(find_best(run_.path(), control_), folder(2));
  EXPECT_EQ(find_latest(run_.path(), control_), folder(5));
  save_step(6, true);
  EXPECT_THAT(names_in(root()), ElementsAre("step-0000000005", "step-0000000006"));
  EXPECT_EQ(find_best(run_.path(), control_), folder(6));
}

TEST_F(Policy, WithoutKeepBest) {
  config_ = {.keep = 1, .keep_best = false};
  save_step(1, true);
  save_step(2);
  EXPECT_THAT(names_in(root()), ElementsAre("step-0000000002"));
  EXPECT_EQ(find_best(run_.path(), control_), folder(2)) << "none is the best: the latest";
}

TEST_F(Policy, DamagedOnesDoNotCount) {
  config_.keep = 2;
  save_step(1);
  save_step(2);
  fs::remove(shards_in(folder(2))[0]);
  save_step(3);
  EXPECT_THAT(names_in(root()), ElementsAre("step-0000000001", "step-0000000002", "step-0000000003"));
  save_step(4);
  EXPECT_THAT(names_in(root()), ElementsAre("step-0000000003", "step-0000000004"));
}

TEST_F(Policy, LaterStepsOfAnAbandonedCourseAreSetAside) {
  config_.keep = 1;
  save_step(8);
  save_step(3);
  EXPECT_THAT(names_in(root()), ElementsAre("step-0000000003", StartsWith("step-0000000008.abandoned-")));
  EXPECT_EQ(find_latest(run_.path(), control_), folder(3));
}

TEST_F(Policy, SavingTheSameStepAgainReplacesIt) {
  save_step(3);
  TrainState other = make_state(9);
  other.step = 3;
  save(run_.path(), other, control_, config_);
  EXPECT_THAT(names_in(root()), ElementsAre("step-0000000003"));
  expect_holds_step(folder(3), 9);
}

TEST_F(Policy, ClearsWhatDeadRunsLeftAndNothingElse) {
  fs::create_directories(root() + "/step-0000000001.tmp-dead");
  fs::create_directories(root() + "/notes.tmp-mine");
  write_all(root() + "/step-0000000007", "a file, not a folder");
  save_step(2);
  EXPECT_THAT(names_in(root()), ElementsAre("notes.tmp-mine", "step-0000000002", "step-0000000007"));
}

TEST_F(Policy, TheFolderIsASetting) {
  TempFolder elsewhere;
  config_.folder = elsewhere.path();
  save_step(2);
  EXPECT_THAT(names_in(elsewhere.path()), ElementsAre("step-0000000002"));
  EXPECT_EQ(find_latest(run_.path(), control_, config_), elsewhere.path() + "/step-0000000002");
  EXPECT_EQ(checkpoint_root("run", {}), "run/checkpoints");
}

}  // namespace
}  // namespace snell::ckpt
