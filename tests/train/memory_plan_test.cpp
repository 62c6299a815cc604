// What is planned on the meta device is what the CPU's tensors take.
#include "snell/train/memory_plan.h"

#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include "snell/config/compose.h"
#include "snell/dist/self_communicator.h"
#include "snell/train/ema.h"
#include "snell/train/footprint.h"
#include "snell/train/model.h"
#include "snell/train/step.h"

namespace snell::train {
namespace {

// Counts what goes through LibTorch's CPU allocator while it lives. Memory is its own context, as raw users want it.
class CountedCpu : public c10::Allocator {
 public:
  CountedCpu() : before_(c10::GetCPUAllocator()) {
    live = peak = 0;
    c10::SetCPUAllocator(this, kPriority);
  }
  ~CountedCpu() override { c10::SetCPUAllocator(before_, kPriority); }

  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &release, c10::Device(c10::kCPU)};
    void* memory = std::aligned_alloc(kHeader, kHeader + (bytes + kHeader - 1) / kHeader * kHeader);
    *static_cast<size_t*>(memory) = bytes;
    live += static_cast<int64_t>(bytes);
    peak = std::max(peak, live);
    void* data = static_cast<std::byte*>(memory) + kHeader;
    return {data, data, &release, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

  static inline int64_t live = 0, peak = 0;

 private:
  static constexpr size_t kHeader = 64;  // its bytes stand before the memory
  static constexpr uint8_t kPriority = 200;
  static void release(void* data) {
    if (data == nullptr) return;
    void* memory = static_cast<std::byte*>(data) - kHeader;
    live -= static_cast<int64_t>(*static_cast<size_t*>(memory));
    std::free(memory);
  }
  c10::Allocator* before_;
};

constexpr int64_t kBatch = 4, kClasses = 10;

JobConfig job_of(std::vector<std::string> overrides) {
  const std::vector<std::string> common{"data=imagefolder",      "data.file=none",    "run.dir=none",
                                        "backbone.weights=",     "data.batch_size=4", "data.workers=0",
                                        "train.eval_interval=0", "train.eval_last=0", "backbone.image_size=64",
                                        "data.transform.size=64"};
  overrides.insert(overrides.end(), common.begin(), common.end());
  JobConfig job;
  config::bind_section(config::compose({{SNELL_SOURCE_DIR "/configs"}}, "config", overrides).root, "", job);
  return job;
}

// The largest number of bytes that tensors take in two steps on the CPU.
int64_t peak_on_cpu(const JobConfig& config) {
  torch::set_num_threads(1);
  const CountedCpu counted;
  const nn::TensorPlace place{compute_dtype(config.run), at::kCPU};
  const auto model = peft::make_tuned_model(config.backbone, config.adapter, kClasses, config.seed, place);
  Optimizer optimizer(model.backbone->trainable(), config.optim);
  std::optional<WeightsEma> ema;
  if (config.optim.ema.enabled) ema.emplace(model.backbone->trainable(), config.optim.ema);
  std::optional<peft::BudgetAllocator> allocator;
  if (config.adapter.allocator.metric != "none") {
    allocator.emplace(model.branches, config.adapter.allocator, config.train.epochs);
  }
  dist::SelfCommunicator communicator;
  dist::BucketedReducer reducer(trainable_tensors(*model.backbone), communicator, config.dist.bucket_mb << 20);
  CountedCpu::peak = CountedCpu::live;
  dist::SelfControlPlane control;
  const StepParts parts{*model.backbone, optimizer, reducer, control, config.optim, place};
  const int64_t shards = config.optim.accumulate, count = kBatch / shards;
  for (int64_t step = 0; step < 2; ++step) {
    data::Batch batch;
    batch.global_count = kBatch;
    for (int64_t i = 0; i < shards; ++i) {
      const auto first = static_cast<uint32_t>(i * count);
      batch.shards.push_back({i, at::rand({count, 3, 64, 64}), at::zeros({count}, at::kLong), {first}, {}, false});
    }
    compute_gradients(parts, batch, config.seed, step);
    optimizer.step();
    if (allocator) allocator->observe();
    if (ema) ema->update(step + 1);
  }
  return CountedCpu::peak;
}

struct Case {
  std::string name;
  std::vector<std::string> overrides;
  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
};
const std::string kVit = "backbone=vit_tiny_patch16_224", kSwin = "backbone=swin_tiny_patch4_window7_224",
                  kConvNext = "backbone=convnext_tiny", kSparse = "adapter.sparsity=0.9";
const std::vector<Case> kCases{
    {"vit_snell", {kVit, "backbone.depth=2", "adapter=snell32", kSparse}},
    {"vit_snell_norm1", {kVit, "backbone.depth=2", "adapter=snell32", kSparse, "adapter.norm_p=1"}},
    {"vit_snella", {kVit, "backbone.depth=2", "adapter=snella", kSparse}},
    {"vit_lora", {kVit, "backbone.depth=2", "adapter=lora"}},
    {"vit_linear", {kVit, "backbone.depth=2", "adapter=linear"}},
    {"vit_full", {kVit, "backbone.depth=2", "adapter=full"}},
    {"vit_full_average", {kVit, "backbone.depth=2", "adapter=full", "optim.ema.enabled=true"}},
    {"vit_full_shards", {kVit, "backbone.depth=2", "adapter=full", "optim.accumulate=2"}},
    {"vit_full_sgd", {kVit, "backbone.depth=2", "adapter=full", "optim=sgd"}},
    {"vit_snell_bfloat16", {kVit, "backbone.depth=2", "adapter=snell32", kSparse, "run.dtype=bfloat16"}},
    {"swin_snell", {kSwin, "backbone.depths=[2,2]", "adapter=snell32", kSparse}},
    {"swin_full", {kSwin, "backbone.depths=[2,2]", "adapter=full"}},
    {"convnext_lora", {kConvNext, "backbone.depths=[1,1]", "backbone.dims=[48,96]", "adapter=lora"}},
    {"convnext_full",
     {kConvNext, "backbone.depths=[1,1]", "backbone.dims=[48,96]", "adapter=full", "backbone.unbiased_norm=true"}},
};

class PlannedPeak : public ::testing::TestWithParam<Case> {};

TEST_P(PlannedPeak, IsTheCpus) {
  const JobConfig config = job_of(GetParam().overrides);
  const MemoryPlan plan = plan_memory(config, {.num_classes = kClasses, .train_samples = 64});
  ASSERT_EQ(plan.phases.size(), 2U) << "no evaluation";
  const auto planned = static_cast<double>(plan.phases[1].count.total());
  const auto taken = static_cast<double>(peak_on_cpu(config));
  EXPECT_NEAR(planned / taken, 1, 0.03) << "planned " << planned << " bytes, taken " << taken;
}

INSTANTIATE_TEST_SUITE_P(Models, PlannedPeak, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

TEST(MemoryPlan, WeightsGradientsAndStateAreTheFootprints) {
  const JobConfig config = job_of({kVit, "adapter=full"});
  LayerFootprint all;
  for (const auto& layer : footprint(config, kClasses)) all += layer;
  const MemoryPlan plan = plan_memory(config, {.num_classes = kClasses, .train_samples = 64});
  const MemoryCount& peak = plan.phases.at(1).count;
  EXPECT_EQ(peak.of(MemoryUse::kWeights), all.weight_bytes);
  EXPECT_EQ(peak.of(MemoryUse::kGradients), all.gradient_bytes);
  EXPECT_EQ(peak.of(MemoryUse::kOptimizer), all.state_bytes);
  EXPECT_EQ(peak.of(MemoryUse::kAverages), 0);
  EXPECT_GT(peak.of(MemoryUse::kForward), 0);
}

TEST(MemoryPlan, RanksShareABatchAndShardsAnd16BitsTakeLess) {
  const auto activations = [](std::vector<std::string> more, int64_t ranks) {
    more.insert(more.end(), {kVit, "adapter=lora"});
    const MemoryPlan plan = plan_memory(job_of(more), {.num_ranks = ranks});
    return static_cast<double>(plan.phases.at(1).count.of(MemoryUse::kForward));
  };
  const double one = activations({}, 1);
  EXPECT_NEAR(activations({}, 2) / one, 0.5, 0.02);
  EXPECT_NEAR(activations({"optim.accumulate=4"}, 1) / one, 0.25, 0.02);
  EXPECT_NEAR(activations({"run.dtype=bfloat16"}, 1) / one, 0.5, 0.05);
}

TEST(MemoryPlan, ALoadersBatchesAndAnEvaluationCount) {
  JobConfig config = job_of({kVit, "adapter=linear", "data.eval_batch_size=100"});
  config.data.workers = 2;
  config.data.prefetch = 3;
  config.train.eval_interval = 1;
  const int64_t image = 3 * 64 * 64 * 4, label = 8;
  const MemoryPlan plan = plan_memory(config, {});
  ASSERT_EQ(plan.phases.size(), 3U);
  EXPECT_EQ(plan.phases[1].count.of(MemoryUse::kImages), (3 + 1) * kBatch * (image + label));
  EXPECT_EQ(plan.largest().name, "evaluation");
  EXPECT_EQ(plan.largest().count.of(MemoryUse::kImages), (3 + 1) * 100 * (image + label));
}

TEST(MemoryPlan, NoMoreImagesThanTheSplitHas) {
  JobConfig config = job_of({kVit, "adapter=linear"});
  config.data.workers = 2;
  config.data.prefetch = 3;
  const MemoryPlan plan = plan_memory(config, {.train_samples = 5});
  EXPECT_EQ(plan.phases.at(1).count.of(MemoryUse::kImages), 5 * (3 * 64 * 64 * 4 + 8));
}

TEST(MetaMemory, CountsByUseWhatLivesAndThePeakOfAPhase) {
  at::Tensor outlives;
  {
    MetaMemory memory;
    const auto bytes = [](int64_t n) { return at::empty({n}, at::TensorOptions().dtype(at::kByte).device(at::kMeta)); };
    memory.set_use(MemoryUse::kWeights);
    outlives = bytes(1 << 20);
    memory.set_use(MemoryUse::kForward);
    bytes(3 << 20);
    EXPECT_EQ(memory.live().of(MemoryUse::kWeights), 1 << 20);
    EXPECT_EQ(memory.live().of(MemoryUse::kForward), 0);
    EXPECT_EQ(memory.peak().of(MemoryUse::kForward), 3 << 20);
    memory.begin_phase();
    EXPECT_EQ(memory.peak().of(MemoryUse::kForward), 0);
  }
  EXPECT_EQ(outlives.nbytes(), size_t{1} << 20) << "and its memory goes after the counter";
}

TEST(MemoryPlan, TheProgramIsMeasuredAndFitsTheProcess) {
  const int64_t bytes = measure_program(job_of({kVit, "adapter=lora"}));
  EXPECT_GT(bytes, 20 << 20);
  EXPECT_LT(bytes, int64_t{2} << 30);
}

}  // namespace
}  // namespace snell::train
