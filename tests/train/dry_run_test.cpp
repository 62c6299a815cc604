// The dry run of many ranks: what it finds, and that it finds everything at once.
#include "snell/train/dry_run.h"

#include <gmock/gmock.h>

#include "small_job.h"
#include "snell/io/tensor_source.h"
#include "support/scratch.h"

namespace snell::train {
namespace {

using ::testing::HasSubstr;
using Status = Finding::Status;

class DryRunTest : public ::testing::Test {
 protected:
  DryRunTest() {
    testing::write_pictures(scratch_ / "pictures.h5", 256);
    job_ = testing::small_job(scratch_ / "pictures.h5", scratch_ / "run", "float32");
    job_.backbone.weights = "";
    job_.data.batch_size = 64;
    job_.checkpoint.every_epochs = 1;
  }

  Finding find(const std::string& check, int64_t ranks = 64) const {
    for (const auto& finding : run(ranks)) {
      if (finding.check == check) return finding;
    }
    ADD_FAILURE() << "no check " << check;
    return {};
  }
  std::vector<Finding> run(int64_t ranks = 64) const {
    return dry_run(job_, {.ranks = {ranks, 8}, .machine = machine_});
  }

  test::Scratch scratch_;
  JobConfig job_;
  const plan::Machine* machine_ = nullptr;
};

TEST_F(DryRunTest, ASoundRunOf64Ranks) {
  const auto findings = run();
  for (const auto& finding : findings) EXPECT_NE(finding.status, Status::kFail) << finding.check << finding.text;
  EXPECT_EQ(exit_code_of(findings), core::ExitCode::kOk);
  EXPECT_THAT(find("settings").text, HasSubstr("64 ranks on 8 nodes"));
  EXPECT_THAT(find("batches").text, HasSubstr("4 steps an epoch"));
  EXPECT_EQ(find("weights").status, Status::kWarn) << "random weights";
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "run")) << "nothing is left behind";
}

TEST_F(DryRunTest, DataThatIsNotThere) {
  job_.data.file = scratch_ / "other.h5";
  EXPECT_EQ(find("data").code, core::ExitCode::kData);
  EXPECT_EQ(exit_code_of(run()), core::ExitCode::kData);
  EXPECT_EQ(find("memory").status, Status::kOk) << "the other checks are made all the same";
}

TEST_F(DryRunTest, BatchesThatDoNotDivide) {
  job_.data.batch_size = 100;
  EXPECT_THAT(find("batches").text, HasSubstr("data.batch_size=128"));
  job_.data.batch_size = 48;
  EXPECT_THAT(find("batches").text, HasSubstr("16 ranks have no sample"));
  job_.data.batch_size = 64;
  job_.optim.accumulate = 2;
  EXPECT_THAT(find("batches").text, HasSubstr("64 parts are empty"));
  EXPECT_EQ(find("batches").status, Status::kWarn);
  job_.optim.accumulate = 1;
  job_.data.batch_size = 512;
  job_.data.drop_last = true;
  EXPECT_EQ(find("batches").code, core::ExitCode::kData);
}

TEST_F(DryRunTest, SettingsThatSoManyRanksCannotHave) {
  job_.dist.reproducible = true;
  job_.dist.virtual_shards = 8;
  EXPECT_EQ(find("settings").code, core::ExitCode::kConfig);
  EXPECT_THAT(find("settings").text, HasSubstr("virtual_shards = 8"));
  EXPECT_EQ(find("settings", 8).status, Status::kOk);
  job_.dist.reproducible = false;
  job_.dist.backend = "self";
  EXPECT_THAT(find("settings").text, HasSubstr("64 ranks would train as many separate models"));
}

TEST_F(DryRunTest, WeightsThatDoNotFit) {
  job_.backbone.weights = scratch_ / "none.safetensors";
  EXPECT_EQ(find("weights").code, core::ExitCode::kWeights);
  io::write_safetensors(job_.backbone.weights, {});
  EXPECT_EQ(find("weights").status, Status::kFail) << "a file without a tensor";
}

TEST_F(DryRunTest, MemoryAgainstTheMachine) {
  plan::Machine machine;
  machine.name = "tiny";
  machine.memory_gb = 1e-6;
  machine_ = &machine;
  EXPECT_EQ(find("memory").status, Status::kFail);
  EXPECT_THAT(find("memory").text, HasSubstr("tiny"));
  machine.memory_gb = 80;
  EXPECT_EQ(find("memory").status, Status::kOk);
}

TEST_F(DryRunTest, AFolderThatCannotBeWritten) {
  job_.run.dir = "/proc/snell";
  EXPECT_EQ(find("folder").code, core::ExitCode::kDisk);
  EXPECT_THAT(find("folder").text, HasSubstr("run.dir"));
}

TEST_F(DryRunTest, DiskAndResume) {
  job_.checkpoint.keep = int64_t{1} << 40;
  EXPECT_EQ(find("disk").code, core::ExitCode::kDisk);
  job_.run.resume = "must";
  EXPECT_EQ(find("resume").code, core::ExitCode::kConfig);
}

}  // namespace
}  // namespace snell::train
