// Models whose frozen weights are kept in other kinds than the plain one: runs, gradients with adapters, conversion,
// and what plans and inspections count.
#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snell/nn/frozen_kinds.h"
#include "snell/nn/load_weights.h"
#include "snell/train/footprint.h"
#include "snell/train/memory_plan.h"
#include "snell/train/model.h"
#include "snell/train/weight_files.h"
#include "support/random_model.h"
#include "support/scratch.h"
#include "train/small_job.h"

namespace snell::train {
namespace {

using ::testing::HasSubstr;

// --- runs ---

struct Outcome {
  std::vector<double> losses;
  std::vector<at::Tensor> trained;
};

class FrozenKindsRun : public testing::RanksTest {
 protected:
  Outcome train(JobConfig config, const std::string& kind, const std::string& weights) {
    config.run.dir += "-" + kind;
    config.backbone.frozen_storage = kind;
    config.backbone.weights = weights;
    std::filesystem::create_directories(config.run.dir);
    Trainer trainer(config, "{}", *control_);
    testing::Watcher watcher;
    trainer.add_hook(watcher);
    trainer.run();
    Outcome out{watcher.losses, {}};
    for (const auto& [name, tensor] : trainer.trained()) out.trained.push_back(tensor.clone());
    return out;
  }
};

bool same_bits(const Outcome& a, const Outcome& b) {
  return a.losses == b.losses && std::equal(a.trained.begin(), a.trained.end(), b.trained.begin(), b.trained.end(),
                                            [](const auto& x, const auto& y) { return at::equal(x, y); });
}

// The mapped file holds what the plain run draws from the seed.
TEST_F(FrozenKindsRun, MappedRunsAreBitEqualToPlainOnes) {
  for (const bool noise : {true, false}) {
    JobConfig config = job(noise ? "apart" : "merged", "float32");
    config.train.max_steps = 10;
    config.backbone.checkpoint_blocks = !noise;
    if (!noise) config.adapter.dropout = config.adapter.drop_path = 0;
    const std::string file = folder_ + "/start.safetensors";
    write_start_weights(config, file);
    const Outcome plain = train(config, "plain", ""), mapped = train(config, "mapped", file);
    ASSERT_EQ(plain.losses.size(), 10u);
    EXPECT_TRUE(same_bits(plain, mapped)) << config.run.dir;
    EXPECT_NE(plain.losses.back(), plain.losses.front());
  }
}

TEST_F(FrozenKindsRun, CompactKindsLearn) {
  for (const std::string kind : {"bfloat16", "int8"}) {
    JobConfig config = job("compact", "float32");
    config.train.max_steps = 50;
    const Outcome plain = train(config, "plain", ""), compact = train(config, kind, "");
    EXPECT_LT(compact.losses.back(), 0.9 * compact.losses.front()) << kind;
    EXPECT_NEAR(compact.losses.front(), plain.losses.front(), 0.02) << kind;
    EXPECT_NE(compact.losses.front(), plain.losses.front()) << kind;
    std::filesystem::remove_all(config.run.dir + "-plain");
  }
}

TEST_F(FrozenKindsRun, OtherWeightTypesAreMappedToo) {
  JobConfig config = job("bfloat16", "bfloat16");
  config.train.max_steps = 3;
  const std::string file = folder_ + "/bfloat16.safetensors";
  write_start_weights(config, file);
  EXPECT_TRUE(same_bits(train(config, "plain", ""), train(config, "mapped", file)));
}

// --- gradients ---

JobConfig job_for(const std::string& backbone, const std::string& kind) {
  JobConfig config;
  config.backbone = test::small_backbone(backbone);
  config.backbone.frozen_storage = kind;
  config.adapter.rank = 8;
  config.adapter.sparsity = 0.5;
  config.adapter.dropout = config.adapter.drop_path = 0;
  return config;
}

peft::TunedModel make(const JobConfig& config, at::ScalarType dtype) {
  nn::TensorPlace place{dtype, at::kCPU};
  place.storage = nn::make_frozen_kind(config.backbone, place);
  auto model = make_model(config, 5, place);
  test::randomise(model, 3);
  return model;
}

std::vector<at::Tensor> gradients(const peft::TunedModel& model, at::ScalarType dtype) {
  const auto normal = [&](at::IntArrayRef shape) {
    return at::randn(shape, at::detail::createCPUGenerator(4), at::TensorOptions(at::kDouble)).to(dtype);
  };
  const at::Tensor logits = model.backbone->forward(normal({2, 3, 32, 32}), core::StepContext{11, 2, 40, true});
  (logits * normal({2, 5})).sum().backward();
  std::vector<at::Tensor> out{logits.detach()};
  for (const auto& [name, tensor] : model.backbone->trainable()) out.push_back(tensor.grad());
  return out;
}

struct Variant {
  std::string backbone;
  double noise;  // dropout and drop path: two products; else W0 + ΔW in one
  at::ScalarType dtype;
  bool checkpointed;
};

const std::vector<Variant> kVariants{{"vit", 0, at::kFloat, false},        {"vit", 0.2, at::kFloat, true},
                                     {"vit", 0, at::kBFloat16, false},     {"swin", 0, at::kFloat, true},
                                     {"swin", 0.2, at::kFloat, false},     {"convnext", 0, at::kFloat, false},
                                     {"convnext", 0.2, at::kDouble, false}};

// A kind's model and a plain one of what it holds: equal bits in logits and in the gradients of all that trains.
TEST(FrozenKindsGradients, AreThoseOfThePlainKind) {
  const test::Scratch scratch;
  for (const auto& variant : kVariants) {
    for (const std::string kind : {"bfloat16", "int8", "mapped"}) {
      SCOPED_TRACE(core::str(variant.backbone, " ", kind, " ", variant.noise, " ", variant.dtype));
      JobConfig config = job_for(variant.backbone, kind);
      config.adapter.dropout = config.adapter.drop_path = config.backbone.drop_path = variant.noise;
      config.backbone.checkpoint_blocks = variant.checkpointed;
      config.run.dtype = variant.dtype == at::kDouble  ? "float64"
                         : variant.dtype == at::kFloat ? "float32"
                                                       : "bfloat16";
      JobConfig plain_config = config;
      plain_config.backbone.frozen_storage = "plain";
      if (kind == "mapped") {
        config.backbone.weights = plain_config.backbone.weights = scratch / "start.safetensors";
        write_start_weights(config, config.backbone.weights);
      }
      const auto kept = make(config, variant.dtype), plain = make(plain_config, variant.dtype);
      const auto values = kept.backbone->published(), targets = plain.backbone->published();
      for (size_t i = 0; i < values.size(); ++i) {
        plain.backbone->set_value(targets[i], kept.backbone->value_of(values[i]).detach());
      }
      const auto a = gradients(kept, variant.dtype), b = gradients(plain, variant.dtype);
      ASSERT_EQ(a.size(), b.size());
      for (size_t i = 0; i < a.size(); ++i) {
        ASSERT_TRUE(a[i].defined() && b[i].defined()) << i;
        EXPECT_TRUE(at::equal(a[i], b[i])) << i;
      }
    }
  }
}

// --- weight files ---

TEST(WeightFiles, ConvertedOnesServeAsMapped) {
  const at::NoGradGuard no_grad;
  const test::Scratch scratch;
  const std::string fixtures = SNELL_SOURCE_DIR "/tests/fixtures/weights/";
  const at::Tensor images = at::randn({2, 3, 32, 32}, at::detail::createCPUGenerator(4), at::kFloat);
  for (const std::string file : {"vit_google.npz", "vit_moco.pth.tar", "vit_timm.safetensors"}) {
    SCOPED_TRACE(file);
    const std::string converted = scratch / "converted.safetensors";
    const auto written = convert_weights(*io::open_tensors(fixtures + file), converted, std::nullopt);
    EXPECT_EQ(written.converted > 0, file != "vit_timm.safetensors");
    JobConfig config = job_for("vit", "plain");
    config.adapter.name = "linear";
    config.backbone.load_head = true;
    const auto logits_of = [&](const std::string& kind, const std::string& weights) {
      config.backbone.frozen_storage = kind;
      config.backbone.weights = weights;
      nn::TensorPlace place;
      place.storage = nn::make_frozen_kind(config.backbone, place);
      return make_model(config, 7, place).backbone->forward(images, {});
    };
    EXPECT_TRUE(at::equal(logits_of("plain", fixtures + file), logits_of("mapped", converted)));
    convert_weights(*io::open_tensors(fixtures + file), converted, at::kBFloat16);
    EXPECT_EQ(io::open_tensors(converted)->describe("blocks.0.attn.qkv.weight").dtype, io::DType::kBF16);
    EXPECT_THROW(logits_of("mapped", converted), core::WeightsError);
  }
}

// --- what is counted ---

int64_t frozen_bytes(const std::string& kind) {
  JobConfig config = job_for("vit", kind);
  config.backbone.weights = "not looked at";
  int64_t bytes = 0;
  for (const auto& layer : footprint(config, 5)) {
    if (layer.name.ends_with(".fc1")) bytes += layer.weight_bytes - 4 * (layer.trainable + 4 * 48);  // but the bias
  }
  return bytes;
}

TEST(FrozenKindsFootprint, CountsWhatIsResident) {
  const int64_t entries = 2 * 48 * 192;
  EXPECT_EQ(frozen_bytes("plain"), 4 * entries);
  EXPECT_EQ(frozen_bytes("bfloat16"), 2 * entries);
  EXPECT_EQ(frozen_bytes("int8"), entries + 4 * 2 * 192);
  EXPECT_EQ(frozen_bytes("mapped"), 0);
}

TEST(FrozenKindsPlan, CountsWhatIsResident) {
  std::map<std::string, int64_t> weights;
  for (const std::string kind : {"plain", "bfloat16", "int8", "mapped"}) {
    JobConfig config = job_for("vit", kind);
    config.backbone.weights = "not looked at";
    config.data.transform.size = 32;
    config.data.batch_size = 4;
    weights[kind] = plan_memory(config, {.num_classes = 5}).largest().count.of(MemoryUse::kWeights);
  }
  const int64_t block = 4 * 48 * 48 + 2 * 4 * 48 * 48, entries = 2 * block, rows = 2 * (3 * 48 + 48 + 192 + 48);
  const auto saved = [&](const std::string& kind) { return static_cast<double>(weights["plain"] - weights[kind]); };
  constexpr double kShapes = 64;  // the eight weights' stand-ins
  EXPECT_NEAR(saved("bfloat16"), 2 * entries, kShapes);
  EXPECT_NEAR(saved("int8"), 3 * entries - 4 * rows, kShapes);
  EXPECT_NEAR(saved("mapped"), 4 * entries, kShapes);
}

}  // namespace
}  // namespace snell::train
