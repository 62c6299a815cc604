// A small training job on generated pictures, for tests of the loop: classes differ in colour, so that the loss falls.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "snell/core/random.h"
#include "snell/data/dataset_writer.h"
#include "snell/dist/control_plane.h"
#include "snell/train/trainer.h"

namespace snell::train::testing {

// `num_samples` noisy 16 x 16 pictures of four classes in a split "train"; the first ones again as "test".
inline void write_pictures(const std::string& path, int64_t num_samples) {
  constexpr int64_t kSide = 16, kBytes = kSide * kSide * 3;
  std::vector<data::SampleEntry> entries;
  data::SplitEntry train{"train", {}}, test{"test", {}};
  for (int64_t i = 0; i < num_samples; ++i) {
    entries.push_back({"picture-" + std::to_string(i), i % 4, data::Encoding::kRawRgb, kSide, kSide, kBytes});
    train.indices.push_back(static_cast<uint64_t>(i));
    if (i < num_samples / 2) test.indices.push_back(static_cast<uint64_t>(i));
  }
  data::DatasetWriter writer(path, {"pictures", "generated", "none", "test", {"a", "b", "c", "d"}}, entries,
                             {train, test});
  for (int64_t i = 0; i < num_samples; ++i) {
    core::RandomStream random({static_cast<uint64_t>(i), core::Purpose::kTest, 0, 0, 0});
    std::vector<std::byte> bytes(kBytes);
    for (int64_t j = 0; j < kBytes; ++j) {
      const double mean = j % 3 == i % 4 ? 190 : 90;
      bytes[static_cast<size_t>(j)] = static_cast<std::byte>(static_cast<uint8_t>(mean + random.uniform(-60, 60)));
    }
    writer.add(bytes);
  }
  writer.commit();
}

// SNELL on a ViT of two blocks with the method's dropout and drop path, learning rate 1e-2, no warm-up.
inline JobConfig small_job(const std::string& data_file, const std::string& run_dir, const std::string& dtype) {
  JobConfig job;
  job.seed = 5;
  job.run.dir = run_dir;
  job.run.device = "cpu";
  job.run.dtype = dtype;
  job.backbone.image_size = 16;
  job.backbone.patch_size = 8;
  job.backbone.embed_dim = 32;
  job.backbone.depth = 2;
  job.backbone.num_heads = 2;
  job.adapter.rank = 8;
  job.adapter.sparsity = 0.5;
  job.data.file = data_file;
  job.data.batch_size = 16;
  job.data.workers = 1;
  job.data.transform.train = "small_train";
  job.data.transform.eval = "none";
  job.data.transform.size = 16;
  job.optim.lr = 1e-2;
  job.optim.schedule.name = "constant";
  job.optim.schedule.warmup_epochs = 0;
  job.train.epochs = 1000;
  job.train.eval_interval = 0;
  job.train.eval_last = 1;
  job.checkpoint.every_steps = 1000;  // at the end only
  job.checkpoint.every_epochs = 0;
  job.dist.check_replicas_every = 5;
  return job;
}

// Keeps what the loop said.
struct Watcher : Hook {
  std::vector<double> losses;
  std::vector<int64_t> samples, bytes;
  std::vector<AllocationEvent> allocations;
  std::vector<EvalEvent> evaluations;
  StepTraffic traffic;  // of the last step
  void on_evaluation(const EvalEvent& event) override { evaluations.push_back(event); }
  void on_allocation(const AllocationEvent& event) override { allocations.push_back(event); }
  void on_step(const StepEvent& event) override {
    losses.push_back(event.stats.loss);
    samples.push_back(event.stats.samples);
    bytes.push_back(event.traffic.bytes_all_reduced);
    traffic = event.traffic;
  }
};

// A folder that all ranks share, with pictures.h5 in it.
class RanksTest : public ::testing::Test {
 protected:
  static constexpr int64_t kSamples = 53;  // no multiple of the batch or of any number of ranks
  void SetUp() override {
    control_ = dist::make_control_plane();
    folder_ = control_->root_decides([] {
      std::string name = "/tmp/snell-ranks-XXXXXX";
      core::check(::mkdtemp(name.data()) != nullptr, "no temporary folder");
      write_pictures(name + "/pictures.h5", kSamples);
      return name;
    });
  }
  void TearDown() override {
    control_->barrier();
    if (control_->is_root()) std::filesystem::remove_all(folder_);
  }
  JobConfig job(const std::string& run, const std::string& dtype) const {
    return small_job(folder_ + "/pictures.h5", folder_ + "/" + run, dtype);
  }

  std::unique_ptr<dist::ControlPlane> control_;
  std::string folder_;
};

}  // namespace snell::train::testing
