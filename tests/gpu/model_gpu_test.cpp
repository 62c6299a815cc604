// Every backbone with every adapter on a GPU: logits and gradients are the CPU's.
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "snell/nn/frozen_kinds.h"
#include "snell/train/model.h"
#include "support/random_model.h"

namespace snell::train {
namespace {

struct Variant {
  std::string backbone, adapter;
  double noise;
  bool checkpointed = false;
  std::string kind = "plain";
};

struct Found {
  std::vector<at::Tensor> tensors;  // logits, then the gradients
  std::vector<std::string> names;
};

Found compute(const Variant& variant, at::ScalarType dtype, c10::Device device) {
  JobConfig config;
  config.backbone = test::small_backbone(variant.backbone);
  config.backbone.frozen_storage = variant.kind;
  config.backbone.drop_path = variant.noise;
  config.backbone.checkpoint_blocks = variant.checkpointed;
  config.adapter.name = variant.adapter;
  config.adapter.rank = 8;
  config.adapter.sparsity = 0.5;
  config.adapter.dropout = config.adapter.drop_path = variant.noise;
  config.run.dtype = dtype == at::kDouble ? "float64" : "float32";
  nn::TensorPlace place{dtype, device};
  place.storage = nn::make_frozen_kind(config.backbone, place);
  auto model = make_model(config, 5, place);
  test::randomise(model, 3);
  const auto normal = [&](at::IntArrayRef shape) {
    return at::randn(shape, at::detail::createCPUGenerator(4), at::TensorOptions(at::kDouble)).to(dtype).to(device);
  };
  const at::Tensor logits = model.backbone->forward(normal({2, 3, 32, 32}), core::StepContext{11, 2, 40, true});
  (logits * normal({2, 5})).sum().backward();
  Found out{{logits.detach()}, {"logits"}};
  for (const auto& [name, tensor] : model.backbone->trainable()) {
    out.tensors.push_back(tensor.grad().defined() ? tensor.grad() : at::zeros_like(tensor));
    out.names.push_back(name);
  }
  return out;
}

void compare(const Variant& variant, at::ScalarType dtype, double tolerance) {
  SCOPED_TRACE(core::str(variant.backbone, " ", variant.adapter, " ", variant.noise, " ", variant.kind, " ",
                         c10::toString(dtype)));
  const Found gpu = compute(variant, dtype, at::kCUDA), cpu = compute(variant, dtype, at::kCPU);
  ASSERT_EQ(gpu.names, cpu.names);
  ASSERT_GT(gpu.names.size(), 1u);
  for (size_t i = 0; i < gpu.tensors.size(); ++i) {
    const at::Tensor found = gpu.tensors[i].cpu().to(at::kDouble), expected = cpu.tensors[i].to(at::kDouble);
    const double scale = expected.abs().max().item<double>();
    EXPECT_LE((found - expected).abs().max().item<double>(), tolerance * std::max(scale, 1e-3)) << gpu.names[i];
  }
}

TEST(ModelGpu, BackbonesAndAdaptersAreTheCpus) {
  for (const std::string backbone : {"vit", "swin", "convnext"}) {
    for (const std::string adapter : {"snell", "snella", "klora", "mixk", "lora", "lora_bias", "adapter"}) {
      for (const double noise : {0.0, 0.2}) compare({backbone, adapter, noise, noise > 0}, at::kDouble, 1e-9);
    }
    for (const std::string adapter : {"klora", "lora"}) compare({backbone, adapter, 0}, at::kFloat, 2e-3);
  }
}

TEST(ModelGpu, CompactFrozenWeightsAreTheCpus) {
  for (const std::string backbone : {"vit", "swin", "convnext"}) {
    for (const std::string kind : {"bfloat16", "int8"}) {
      compare({backbone, "snell", 0, true, kind}, at::kDouble, 1e-9);
      compare({backbone, "klora", 0.2, false, kind}, at::kFloat, 2e-3);
    }
  }
}

}  // namespace
}  // namespace snell::train
