// The kinds of frozen weights against the plain one: what they hold, what they compute, and which files a mapped one
// refuses.
#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "snell/core/error.h"
#include "snell/io/tensor_source.h"
#include "snell/nn/backbone.h"
#include "snell/nn/compact_frozen_weight.h"
#include "snell/nn/frozen_kinds.h"
#include "snell/nn/load_weights.h"
#include "snell/nn/mapped_weights.h"
#include "support/scratch.h"

namespace snell::nn {
namespace {

namespace fs = std::filesystem;
using core::ConfigError;
using core::WeightsError;
using test::message_of;
using test::Scratch;
using ::testing::HasSubstr;

constexpr int64_t kOut = 24, kIn = 40;
const core::FrozenSpec kSpec{"blocks.0.mlp.fc1.weight", "blocks.0", kOut, kIn};

at::Tensor random(at::IntArrayRef shape, at::ScalarType dtype, double scale = 1) {
  return at::randn(shape, at::detail::createCPUGenerator(7), at::TensorOptions(at::kDouble)).mul_(scale).to(dtype);
}

TEST(FrozenKinds, Bfloat16IsTheRoundedWeightInTheComputeType) {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kHalf}) {
    Bfloat16Weight weight(kSpec, {dtype, at::kCPU});
    const at::Tensor set = random({kOut, kIn}, at::kDouble);
    weight.set(set);
    EXPECT_TRUE(at::equal(weight.acquire(), set.to(at::kBFloat16).to(dtype))) << dtype;
    EXPECT_EQ(weight.acquire().scalar_type(), dtype);
    weight.release();
    EXPECT_EQ(weight.resident_bytes(), 2 * kOut * kIn);
  }
  Bfloat16Weight weight(kSpec, {});
  const at::Tensor exact = random({kOut, kIn}, at::kBFloat16);
  weight.set(exact);
  EXPECT_TRUE(at::equal(weight.acquire(), exact.to(at::kFloat)));
}

// Rows from 1e-30 to 1e30, one of zeros, one of a single number, one that is rounded at exact halves.
at::Tensor odd_rows() {
  at::Tensor weight = random({kOut, kIn}, at::kDouble);
  for (int64_t row = 0; row < kOut; ++row)
    weight[row].mul_(std::pow(10.0, 60.0 * static_cast<double>(row) / kOut - 30));
  weight[3].zero_();
  weight[4].fill_(-0.37);
  weight[5].copy_(at::arange(kIn, at::kDouble).add_(0.5));
  weight[5][0] = 127;
  return weight;
}

TEST(FrozenKinds, Int8IsOffByHalfAScaleAtMost) {
  const at::Tensor set = odd_rows();
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    Int8Weight weight(kSpec, {dtype, at::kCPU});
    weight.set(set);
    const at::Tensor error = (weight.acquire().to(at::kDouble) - set).abs(), scales = weight.scales().to(at::kDouble);
    // Beside the half, what float32 rounds in scale and product.
    EXPECT_TRUE((error <= scales * 0.50001).all().item<bool>()) << (error / scales).nan_to_num(0).max();
    EXPECT_TRUE(at::allclose(scales.flatten(), std::get<0>(set.abs().max(1)).div(127), 1e-6, 0));
    EXPECT_EQ(weight.acquire()[3].abs().max().item<double>(), 0) << "zeros stay zeros";
    EXPECT_TRUE(at::allclose(weight.acquire()[4].to(at::kDouble), set[4], 1e-6)) << "a row's largest number is kept";
    EXPECT_EQ(weight.acquire().scalar_type(), dtype);
    EXPECT_EQ(weight.resident_bytes(), kOut * kIn + 4 * kOut);
  }
  Int8Weight other(kSpec, {at::kBFloat16, at::kCPU}), same(kSpec, {at::kFloat, at::kCPU});
  other.set(set.to(at::kFloat));
  same.set(set.to(at::kFloat));
  EXPECT_TRUE(at::equal(other.acquire(), same.acquire().to(at::kBFloat16)));
}

TEST(FrozenKinds, Int8RefusesWhatIsNotFinite) {
  for (const double bad : {std::nan(""), HUGE_VAL, 1e300}) {
    at::Tensor set = random({kOut, kIn}, at::kDouble);
    set[2][7] = bad;
    Int8Weight weight(kSpec, {});
    EXPECT_THAT(message_of<WeightsError>([&] { weight.set(set); }), HasSubstr(kSpec.name)) << bad;
  }
}

// --- mapped ---

io::HostTensor host(const at::Tensor& tensor, io::DType dtype) {
  auto kept = std::make_shared<at::Tensor>(tensor.contiguous());
  return {dtype, kept->sizes().vec(), {static_cast<const std::byte*>(kept->const_data_ptr()), kept->nbytes()}, kept};
}

class Mapped : public ::testing::Test {
 protected:
  // One weight under `name`, after `before` bytes.
  std::string write(const at::Tensor& weight, io::DType dtype = io::DType::kF32, const std::string& name = kSpec.name,
                    int64_t before = 0) const {
    std::vector<std::pair<std::string, io::HostTensor>> tensors;
    if (before > 0) tensors.emplace_back("before", host(at::zeros({before}, at::kByte), io::DType::kU8));
    tensors.emplace_back(name, host(weight, dtype));
    const std::string path = scratch_ / "weights.safetensors";
    io::write_safetensors(path, tensors);
    return path;
  }
  static std::string refused(const std::string& path, const TensorPlace& place = {}) {
    return message_of<WeightsError>([&] { MappedStorage(path, place).add(kSpec); });
  }
  const Scratch scratch_;
  const at::Tensor weight_OI_ = random({kOut, kIn}, at::kFloat);
};

TEST_F(Mapped, IsTheFilesBytes) {
  MappedStorage storage(write(weight_OI_), {});
  const auto weight = storage.add(kSpec);
  EXPECT_TRUE(at::equal(weight->acquire(), weight_OI_));
  const void* data = weight->acquire().const_data_ptr();
  weight->release();
  EXPECT_EQ(weight->acquire().const_data_ptr(), data) << "no copy";
  EXPECT_TRUE(at::equal(weight->acquire(), weight_OI_)) << "pages that were given back come again";
  EXPECT_EQ(weight->resident_bytes(), 0);
  EXPECT_TRUE(weight->has_value());
  EXPECT_THROW(weight->set(weight_OI_), core::Error);
}

TEST_F(Mapped, OutlivesItsStorageAndSeesAnOldFileThatWasReplaced) {
  std::shared_ptr<core::StoredWeight> weight;
  weight = MappedStorage(write(weight_OI_), {}).add(kSpec);
  write(at::zeros_like(weight_OI_));  // by rename
  EXPECT_TRUE(at::equal(weight->acquire(), weight_OI_));
}

TEST_F(Mapped, AOneByOneConvolutionIsAMatrix) {
  MappedStorage storage(write(weight_OI_.view({kOut, kIn, 1, 1})), {});
  EXPECT_TRUE(at::equal(storage.add(kSpec)->acquire(), weight_OI_));
}

TEST_F(Mapped, EveryAlignmentOfAFloatServes) {
  for (const int64_t before : {4, 8, 20, 60}) {
    const std::string path = write(weight_OI_, io::DType::kF32, kSpec.name, before);
    EXPECT_TRUE(at::equal(MappedStorage(path, {}).add(kSpec)->acquire(), weight_OI_)) << before;
  }
  EXPECT_THAT(refused(write(weight_OI_, io::DType::kF32, kSpec.name, 3)),
              AllOf(HasSubstr("no multiple"), HasSubstr("snell weights convert")));
}

TEST_F(Mapped, WhatNeedsAnotherFormSaysWhichFileItNeeds) {
  EXPECT_THAT(refused(write(weight_OI_.to(at::kBFloat16), io::DType::kBF16)),
              AllOf(HasSubstr("BFloat16"), HasSubstr("run.dtype=float32"), HasSubstr("dtype=float32")));
  EXPECT_THAT(refused(write(weight_OI_), {at::kBFloat16, at::kCPU}), HasSubstr("dtype=bfloat16"));
  EXPECT_THAT(refused(write(weight_OI_.t())), HasSubstr("this backbone needs"));
  EXPECT_THAT(refused(write(weight_OI_, io::DType::kF32, "blocks.0.mlp.fc2.weight")), HasSubstr("lacks " + kSpec.name));
  const std::string fixtures = SNELL_SOURCE_DIR "/tests/fixtures/weights/";
  for (const std::string file : {"vit_google.npz", "vit_moco.pth.tar"}) {
    EXPECT_THAT(refused(fixtures + file), AllOf(HasSubstr("format"), HasSubstr("snell weights convert"))) << file;
  }
}

TEST_F(Mapped, SeparateQueriesKeysAndValuesAreRefused) {
  std::vector<std::pair<std::string, io::HostTensor>> tensors;
  for (const std::string part : {"q", "k", "v"}) {
    tensors.emplace_back("blocks.0.attn." + part + ".weight", host(weight_OI_, io::DType::kF32));
  }
  io::write_safetensors(scratch_ / "apart.safetensors", tensors);
  const core::FrozenSpec qkv{"blocks.0.attn.qkv.weight", "blocks.0", 3 * kOut, kIn};
  EXPECT_THAT(message_of<WeightsError>([&] { MappedStorage(scratch_ / "apart.safetensors", {}).add(qkv); }),
              HasSubstr("blocks.0.attn.q.weight, blocks.0.attn.k.weight, blocks.0.attn.v.weight"));
}

TEST_F(Mapped, AFileThatChangesIsNoticedBeforeItIsRead) {
  for (const bool cut : {true, false}) {
    const std::string path = write(weight_OI_);
    MappedStorage storage(path, {});
    const auto weight = storage.add(kSpec);
    EXPECT_NO_THROW(weight->acquire());
    if (cut) {
      fs::resize_file(path, 100);
    } else {
      fs::last_write_time(path, fs::last_write_time(path) + std::chrono::seconds(1));
    }
    EXPECT_THAT(message_of<WeightsError>([&] { weight->acquire(); }), HasSubstr("was written to")) << cut;
  }
}

TEST_F(Mapped, AHostileFileIsRefused) {
  const std::string sound = test::slurp(write(weight_OI_)), path = scratch_ / "hostile.safetensors";
  test::spill(path, sound.substr(0, sound.size() - 1));
  EXPECT_THAT(refused(path), HasSubstr("not a sound safetensors file"));
  for (uint32_t number = 0; number < 300; ++number) {
    test::spill(path, test::mutated(sound, number));
    try {
      MappedStorage storage(path, {});
      const auto weight = storage.add(kSpec);
      EXPECT_EQ(weight->acquire().sum().numel(), 1);  // all of it can be read
    } catch (const WeightsError&) {
    }
  }
}

TEST_F(Mapped, IsForTheCpu) {
  const std::string path = write(weight_OI_);
  EXPECT_THAT(message_of<ConfigError>([&] {
                MappedStorage(path, {at::kFloat, at::kCUDA});
              }),
              HasSubstr("run.device=cpu"));
  MappedStorage planned("no such file", {at::kFloat, at::kMeta});
  EXPECT_EQ(planned.add(kSpec)->acquire().sizes(), (at::IntArrayRef{kOut, kIn}));
}

// --- whole backbones ---

BackboneConfig small(const std::string& name, const std::string& kind, const std::string& weights) {
  BackboneConfig config;
  config.name = name;
  config.weights = weights;
  config.frozen_storage = kind;
  config.drop_path = 0;
  config.image_size = 32;
  config.patch_size = name == "vit" ? 8 : 4;
  config.embed_dim = name == "vit" ? 48 : 24;
  config.depth = 2;
  config.num_heads = name == "vit" ? 3 : 2;
  config.window_size = 4;
  if (name != "vit") config.depths = {1, 2};
  if (name == "convnext") config.dims = {24, 48};
  return config;
}

// As the program makes one: with its storage, its weights loaded or drawn.
std::unique_ptr<Backbone> make(const BackboneConfig& config, at::ScalarType dtype = at::kFloat) {
  TensorPlace place{dtype, at::kCPU};
  place.storage = make_frozen_kind(config, place);
  auto backbone = make_backbone(config, 5, LinearFactory(false), place);
  if (config.weights.empty()) {
    backbone->init_published(3);
  } else {
    load_weights(*backbone, *io::open_tensors(config.weights), {true});
  }
  return backbone;
}

std::string write_published(const Backbone& backbone, const std::string& path) {
  std::vector<std::pair<std::string, io::HostTensor>> tensors;
  for (const auto& [name, tensor] : backbone.published()) {
    tensors.emplace_back(name,
                         host(tensor, tensor.scalar_type() == at::kBFloat16 ? io::DType::kBF16 : io::DType::kF32));
  }
  io::write_safetensors(path, tensors);
  return path;
}

struct Passes {
  at::Tensor logits, grad_images;
};

Passes passes(const Backbone& backbone) {
  const at::Tensor images = random({2, 3, 32, 32}, at::kFloat).requires_grad_(true);
  const at::Tensor logits = backbone.forward(images, {});
  (logits * random({2, 5}, at::kFloat)).sum().backward();
  return {logits.detach(), images.grad()};
}

TEST(FrozenKindsOfBackbones, MappedIsBitEqualForwardAndBackward) {
  const Scratch scratch;
  for (const std::string name : {"vit", "swin", "convnext"}) {
    SCOPED_TRACE(name);
    const auto plain = make(small(name, "plain", ""));
    plain->init_head(4);
    const std::string file = write_published(*plain, scratch / (name + ".safetensors"));
    const auto mapped = make(small(name, "mapped", file));
    const Passes a = passes(*plain), b = passes(*mapped);
    EXPECT_TRUE(at::equal(a.logits, b.logits));
    EXPECT_TRUE(at::equal(a.grad_images, b.grad_images));
    EXPECT_GT(a.grad_images.abs().max().item<float>(), 0);
  }
}

// Whatever a kind holds, it computes as a plain weight of that value.
TEST(FrozenKindsOfBackbones, ComputeAsThePlainOneOfWhatTheyHold) {
  for (const std::string name : {"vit", "swin", "convnext"}) {
    for (const std::string kind : {"bfloat16", "int8"}) {
      SCOPED_TRACE(name + " " + kind);
      const auto kept = make(small(name, kind, "")), plain = make(small(name, "plain", ""));
      kept->init_head(4);
      plain->init_head(4);
      EXPECT_FALSE(at::equal(passes(*kept).logits, passes(*plain).logits)) << "rounding must show";
      for (const auto& parameter : kept->published()) {
        for (const auto& other : plain->published()) {
          if (other.name == parameter.name) plain->set_value(other, kept->value_of(parameter));
        }
      }
      const Passes a = passes(*kept), b = passes(*plain);
      EXPECT_TRUE(at::equal(a.logits, b.logits));
      EXPECT_TRUE(at::equal(a.grad_images, b.grad_images));
    }
  }
}

// How far the logits of a ViT move, over their spread (docs/weights.md tells it).
TEST(FrozenKindsOfBackbones, LogitsStayNearThePlainOnes) {
  const at::NoGradGuard no_grad;
  const std::string file = SNELL_SOURCE_DIR "/tests/fixtures/weights/vit_timm.safetensors";
  BackboneConfig config = small("vit", "plain", file);
  const auto logits_of = [&](const std::string& kind) {
    config.frozen_storage = kind;
    TensorPlace place;
    place.storage = make_frozen_kind(config, place);
    const auto backbone = make_backbone(config, 7, LinearFactory(false), place);
    load_weights(*backbone, *io::open_tensors(file), {true});
    return backbone->forward(random({16, 3, 32, 32}, at::kFloat), {});
  };
  const at::Tensor plain = logits_of("plain");
  for (const auto& [kind, bound] : {std::pair{"bfloat16", 0.01}, std::pair{"int8", 0.03}}) {
    const at::Tensor off = logits_of(kind) - plain;
    const double relative = (off.norm() / (plain - plain.mean(1, true)).norm()).item<double>();
    RecordProperty(kind, std::to_string(relative));
    EXPECT_LT(relative, bound) << kind;
    EXPECT_GT(relative, 0) << kind;
  }
}

}  // namespace
}  // namespace snell::nn
