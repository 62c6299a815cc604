// What a step does, as it is written down on shapes alone: against the known formulas, and against what the CPU runs.
#include <gtest/gtest.h>

#include "snell/config/compose.h"
#include "snell/plan/step_time.h"
#include "snell/train/bench_step.h"
#include "snell/train/memory_plan.h"
#include "snell/train/op_trace.h"

namespace snell::train {
namespace {

using plan::Collective;
using plan::Event;
using plan::Op;
using plan::OpKind;
using plan::Trace;

constexpr int64_t kBatch = 4, kClasses = 10, kDepth = 3, kPatches = 16;  // of 64 × 64 pixels
constexpr double kTokens = kPatches + 1, kFeatures = 192;

JobConfig job_of(std::vector<std::string> overrides) {
  const std::vector<std::string> common{
      "data=imagefolder",  "data.file=none",    "run.dir=none",           "backbone=vit_tiny_patch16_224",
      "backbone.depth=3",  "backbone.weights=", "backbone.image_size=64", "data.transform.size=64",
      "data.batch_size=4", "data.workers=0",    "train.eval_interval=0",  "train.eval_last=0"};
  overrides.insert(overrides.begin(), common.begin(), common.end());
  JobConfig job;
  config::bind_section(config::compose({{SNELL_SOURCE_DIR "/configs"}}, "config", overrides).root, "", job);
  return job;
}

Trace trace_of(const std::vector<std::string>& overrides, int64_t ranks = 1) {
  return plan_memory(job_of(overrides), {.num_classes = kClasses, .num_ranks = ranks}).step;
}

// Of a block: qkv, proj, fc1 and fc2 have 12·D² weights, the two products of attention N²·D each.
constexpr double kBlockGemm = 2 * kTokens * 12 * kFeatures * kFeatures;
constexpr double kBlockAttention = 2 * 2 * kTokens * kTokens * kFeatures;
constexpr double kHead = 2 * kFeatures * kClasses;

TEST(StepTrace, AVitsFlopsAreTheFormulas) {
  const Trace full = trace_of({"adapter=full"});
  // Backward: one product for the input's gradient and one for the weight's.
  EXPECT_DOUBLE_EQ(full.flops(OpKind::kGemm), 3 * kBatch * (kDepth * kBlockGemm + kHead));
  EXPECT_DOUBLE_EQ(full.flops(OpKind::kAttention), kBatch * kDepth * kBlockAttention);
  EXPECT_DOUBLE_EQ(full.flops(OpKind::kAttentionBackward), 2.5 * kBatch * kDepth * kBlockAttention);
  // The image needs no gradient.
  EXPECT_DOUBLE_EQ(full.flops(OpKind::kConvolution), 2 * kBatch * 2.0 * kPatches * 3 * 16 * 16 * kFeatures);
  EXPECT_EQ(full.flops(OpKind::kDeltaBuild), 0);
}

TEST(StepTrace, SnellBuildsItsDeltasTwiceAndSumsTheirGradientsOnce) {
  const Trace snell = trace_of({"adapter=snell32", "adapter.sparsity=0.9", "adapter.dropout=0", "adapter.drop_path=0"});
  EXPECT_DOUBLE_EQ(snell.flops(OpKind::kGemm), 3 * kBatch * (kDepth * kBlockGemm + kHead));
  double built = 0, selected = 0, summed = 0;
  for (const Event& event : snell.events) {
    const Op& op = event.op;
    if (event.kind != Event::Kind::kOp || op.entries == 0) continue;
    EXPECT_EQ(op.columns, 32);
    if (op.kind == OpKind::kDeltaGrads) {
      EXPECT_NEAR(op.kept, 0.1, 1e-12);
      summed += op.entries;
    } else {
      (op.selects ? selected : built) += op.entries;
    }
  }
  const double entries = kDepth * 12 * kFeatures * kFeatures;
  EXPECT_DOUBLE_EQ(selected, entries);
  EXPECT_DOUBLE_EQ(built, entries);
  EXPECT_DOUBLE_EQ(summed, entries);
}

TEST(StepTrace, CheckpointedBlocksRunTheirForwardPassOnceMore) {
  const Trace once = trace_of({"adapter=full"}), twice = trace_of({"adapter=full", "backbone.checkpoint_blocks=true"});
  EXPECT_DOUBLE_EQ(twice.flops(OpKind::kGemm) - once.flops(OpKind::kGemm), kBatch * kDepth * kBlockGemm);
}

// The same observer on the CPU: what is planned is what runs.
TEST(StepTrace, TheCpuDoesWhatThePlanSays) {
  for (const char* adapter : {"adapter=full", "adapter=snell32"}) {
    JobConfig config = job_of({adapter, "run.threads=1", "run.device=cpu"});
    const Trace planned = plan_memory(config, {.num_classes = kClasses}).step;
    BenchStep step(config, kClasses);
    step.run();
    Trace done;
    {
      const OpObserver observer([&](const Op& op, double seconds) {
        EXPECT_GE(seconds, 0);
        done.add(op);
      });
      step.run();
    }
    for (const OpKind kind : {OpKind::kGemm, OpKind::kAttention, OpKind::kAttentionBackward, OpKind::kConvolution,
                              OpKind::kDeltaBuild, OpKind::kDeltaGrads}) {
      EXPECT_DOUBLE_EQ(planned.flops(kind), done.flops(kind)) << adapter << ": " << plan::op_kind_name(kind);
    }
    const auto bytes = [](const Trace& trace, OpKind kind) {
      double sum = 0;
      for (const Event& event : trace.events) sum += event.op.kind == kind ? event.op.bytes : 0;
      return sum;
    };
    for (const OpKind kind : {OpKind::kNorm, OpKind::kNormBackward, OpKind::kGelu, OpKind::kGeluBackward,
                              OpKind::kRandom, OpKind::kUpdate}) {
      EXPECT_DOUBLE_EQ(bytes(planned, kind), bytes(done, kind)) << adapter << ": " << plan::op_kind_name(kind);
    }
    EXPECT_NEAR(bytes(planned, OpKind::kElementwise) / bytes(done, OpKind::kElementwise), 1, 0.1) << adapter;
    EXPECT_NEAR(bytes(planned, OpKind::kCopy) / bytes(done, OpKind::kCopy), 1, 0.1) << adapter;
  }
}

TEST(StepTrace, ReducesTheTrainablesOnceWhileTheBackwardPassGoesOn) {
  const JobConfig config = job_of({"adapter=full", "dist.bucket_mb=1"});
  const MemoryPlan planned = plan_memory(config, {.num_classes = kClasses, .num_ranks = 4});
  EXPECT_EQ(planned.step.ranks, 4);
  EXPECT_DOUBLE_EQ(planned.step.bytes(Collective::kAllReduce), static_cast<double>(planned.trainable_bytes));
  size_t first_start = 0, last_product = 0;
  for (size_t i = 0; i < planned.step.events.size(); ++i) {
    const Event& event = planned.step.events[i];
    if (event.kind == Event::Kind::kStart && first_start == 0) first_start = i;
    if (event.kind == Event::Kind::kOp && event.op.kind == OpKind::kGemm) last_product = i;
  }
  EXPECT_LT(first_start, last_product);
  EXPECT_TRUE(trace_of({"adapter=full"}, 1).bytes(Collective::kAllReduce) == 0);
}

TEST(StepTrace, AccumulationReducesOnce) {
  const Trace parts = trace_of({"adapter=snell8", "optim.accumulate=2"}, 2), whole = trace_of({"adapter=snell8"}, 2);
  EXPECT_DOUBLE_EQ(parts.bytes(Collective::kAllReduce), whole.bytes(Collective::kAllReduce));
}

// The exchange of dist.reproducible is planned too: its messages, and the memory that they lie in.
TEST(StepTrace, ReproducibleRunsExchangeAndGather) {
  const JobConfig config = job_of({"adapter=full", "dist.reproducible=true", "dist.virtual_shards=4"});
  const MemoryPlan one = plan_memory(config, {.num_classes = kClasses, .num_ranks = 1});
  const MemoryPlan two = plan_memory(config, {.num_classes = kClasses, .num_ranks = 2});
  const auto bytes = static_cast<double>(two.trainable_bytes);
  EXPECT_NEAR(two.step.bytes(Collective::kAllToAll), bytes, 64);
  EXPECT_NEAR(two.step.bytes(Collective::kAllGather), bytes / 2, 64);
  EXPECT_EQ(one.step.bytes(Collective::kAllToAll), 0);
  // What is sent, what is received and the padded sum, beside the partial sums; an ordinary sum has one bucket more.
  const MemoryPlan ordinary = plan_memory(job_of({"adapter=full"}), {.num_classes = kClasses, .num_ranks = 2});
  EXPECT_GT(static_cast<double>(two.phases.at(1).count.total()),
            static_cast<double>(ordinary.phases.at(1).count.total()) + 1.5 * bytes);
}

// Each rank keeps its share, and every block is gathered once forward and once backward, but for the two at each turn
// that may still be there.
TEST(StepTrace, ShardedWeightsAreGatheredBlockByBlock) {
  const std::vector<std::string> snell{"adapter=snell8", "data.batch_size=8"};
  const auto planned = [&](std::vector<std::string> more, int64_t ranks) {
    more.insert(more.end(), snell.begin(), snell.end());
    return plan_memory(job_of(more), {.num_classes = kClasses, .num_ranks = ranks, .ranks_per_node = 2});
  };
  const MemoryPlan whole = planned({}, 4), full = planned({"dist.shard_frozen=full"}, 4);
  const double block = 12 * kFeatures * kFeatures * 4, all = kDepth * block;
  EXPECT_EQ(whole.step.bytes(Collective::kAllGather), 0);
  const double gathered = full.step.bytes(Collective::kAllGather) / (block / 4);
  EXPECT_GE(gathered, 2 * (kDepth - 2));
  EXPECT_LE(gathered, 2 * kDepth + 0.1);
  const auto weights = [](const MemoryPlan& plan) {
    return static_cast<double>(plan.phases.at(1).count.of(MemoryUse::kWeights));
  };
  EXPECT_NEAR(weights(whole) - weights(full), all * 3 / 4, 0.02 * all);
  // hybrid: between the two ranks of a node.
  const MemoryPlan hybrid = planned({"dist.shard_frozen=hybrid"}, 4);
  EXPECT_NEAR(weights(whole) - weights(hybrid), all / 2, 0.02 * all);
  for (const Event& event : hybrid.step.events) {
    if (event.kind != Event::Kind::kStart) continue;
    EXPECT_EQ(event.ranks, event.collective == Collective::kAllGather ? 2 : 4);
  }
}

TEST(StepTrace, ShardedStateIsSharedOut) {
  const auto planned = [](const char* more) {
    return plan_memory(job_of({"adapter=full", more}), {.num_classes = kClasses, .num_ranks = 4});
  };
  const MemoryPlan whole = planned("dist.shard_optimizer=false"), shared = planned("dist.shard_optimizer=true");
  const auto state = [](const MemoryPlan& plan) {
    return static_cast<double>(plan.phases.at(1).count.of(MemoryUse::kOptimizer));
  };
  EXPECT_NEAR(state(shared) / state(whole), 0.25, 0.15);
  EXPECT_GT(shared.step.bytes(Collective::kAllGather), 0.2 * static_cast<double>(shared.trainable_bytes));
}

TEST(StepTrace, SixteenBitsOnTheWireAreHalfTheBytes) {
  const Trace own = trace_of({"adapter=snell8"}, 2),
              half = trace_of({"adapter=snell8", "dist.reduce_dtype=bfloat16"}, 2);
  EXPECT_DOUBLE_EQ(half.bytes(Collective::kAllReduce), own.bytes(Collective::kAllReduce) / 2);
}

}  // namespace
}  // namespace snell::train
