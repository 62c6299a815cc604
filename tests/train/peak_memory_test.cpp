#include "snell/train/peak_memory.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "snell/train/bench_step.h"

namespace snell::train {
namespace {

constexpr int64_t kBlock = 64 << 20;
// What else happens in a process; under AddressSanitizer also its shadow memory and what it keeps of freed blocks.
#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kSlack = 56 << 20;
#else
constexpr int64_t kSlack = 8 << 20;
#endif

void use_for_a_moment(int64_t bytes) {
  const std::vector<char> block(static_cast<size_t>(bytes), 1);
  ASSERT_EQ(block[block.size() / 2], 1);
}

TEST(PeakMemory, IsWhatWasUsedForAMoment) {
  const PeakMemory memory(c10::kCPU);
  if (!memory.above()) GTEST_FAIL() << "/proc/self/status or clear_refs is not there";
  EXPECT_LT(*memory.above(), kSlack);
  use_for_a_moment(kBlock);
  EXPECT_NEAR(static_cast<double>(*memory.above()), kBlock, kSlack);
  use_for_a_moment(kBlock / 2);
  EXPECT_NEAR(static_cast<double>(*memory.above()), kBlock, kSlack);
}

TEST(PeakMemory, BeginsAnewAboveWhatStays) {
  use_for_a_moment(2 * kBlock);
  const std::vector<char> stays(kBlock, 1);
  const PeakMemory memory(c10::kCPU);
  ASSERT_TRUE(memory.before() && memory.above());
  EXPECT_GT(*memory.before(), kBlock);
  EXPECT_LT(*memory.above(), kSlack);
}

JobConfig tiny(const std::string& adapter) {
  JobConfig job;
  job.run.device = "cpu";
  job.run.threads = 2;
  job.backbone.image_size = 16;
  job.backbone.patch_size = 8;
  job.backbone.embed_dim = 32;
  job.backbone.depth = 2;
  job.backbone.num_heads = 2;
  job.adapter.name = adapter;
  job.data.batch_size = 3;
  return job;
}

TEST(BenchStep, IsTheTrainersStep) {
  BenchStep bench(tiny("snell"), 4);
  EXPECT_EQ(bench.facts().threads, 2);
  EXPECT_EQ(bench.facts().device, "cpu");
  const StepStats first = bench.run();
  EXPECT_EQ(first.samples, 3);
  EXPECT_TRUE(first.finite);
  EXPECT_GT(first.seconds, 0);
  StepStats last;
  for (int step = 0; step < 20; ++step) last = bench.run();
  EXPECT_LT(last.loss, first.loss) << "always the same batch: it is learnt";
  EXPECT_GT(*bench.peak_above_model(), 0);
}

TEST(BenchStep, TrainsWhatTheMethodTrains) {
  const BenchFacts full = BenchStep(tiny("full"), 4).facts();
  EXPECT_EQ(full.trainable_elements, full.parameters);
  const BenchFacts head_and_token = BenchStep(tiny("linear"), 4).facts();
  EXPECT_EQ(head_and_token.trainable_elements, 4 * 32 + 4 + 32);
}

}  // namespace
}  // namespace snell::train
