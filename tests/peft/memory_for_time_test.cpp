// Settings that trade memory for time change no bit: block checkpointing, and keeping what was built.
#include <gtest/gtest.h>

#include "peft/small_backbone.h"
#include "snell/peft/tuning.h"

namespace snell::peft {
namespace {

nn::BackboneConfig backbone(const std::string& name) {
  nn::BackboneConfig config = small_backbone(name);
  config.drop_path = 0.2;
  return config;
}

// Loss and all gradients of one step.
std::vector<at::Tensor> step(const nn::BackboneConfig& config, const AdapterConfig& adapter) {
  const TunedModel model = make_tuned_model(config, adapter, 3, 1, {at::kDouble, at::kCPU});
  for (const auto& [name, tensor] : model.backbone->adapters()) {
    if (!name.ends_with("_Qs")) tensor.detach().add_(0.1);  // LoRA's second factor starts at zero
  }
  const at::Tensor images = made_up_images(config, at::kDouble);
  const at::Tensor logits = model.backbone->forward(images, {7, 3, 20, /*training=*/true});
  const at::Tensor loss = at::cross_entropy_loss(logits, at::tensor({0, 1, 2, 1}, at::kLong));
  loss.backward();
  std::vector<at::Tensor> out{loss.detach()};
  for (const auto& parameter : model.backbone->trainable()) out.push_back(parameter.tensor.grad());
  return out;
}

void expect_equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i])) << i;
}

TEST(BlockCheckpointing, ChangesNoBit) {
  for (const char* name : {"vit", "swin", "convnext"}) {
    for (const char* method : {"snell", "snella", "lora", "adapter", "linear", "full"}) {
      SCOPED_TRACE(core::str(name, " ", method));
      AdapterConfig adapter;
      adapter.name = method;
      adapter.rank = 8;
      adapter.sparsity = std::string(method).starts_with("snell") ? 0.5 : 0;
      adapter.class_token = true;
      nn::BackboneConfig config = backbone(name);
      const auto plain = step(config, adapter);
      config.checkpoint_blocks = true;
      const auto checkpointed = step(config, adapter);
      if (std::string(name) == "swin" && std::string(method) == "full") {
        // Where the attention's bias trains, LibTorch takes another kernel, but not while nothing is recorded.
        ASSERT_EQ(checkpointed.size(), plain.size());
        for (size_t i = 0; i < plain.size(); ++i)
          EXPECT_TRUE(at::allclose(checkpointed[i], plain[i], 1e-9, 1e-12)) << i;
        continue;
      }
      expect_equal(checkpointed, plain);
    }
  }
}

TEST(DeltaCache, ChangesNoBit) {
  for (const double noise : {0.0, 0.1}) {
    for (const char* method : {"snell", "snella", "lora", "adapter"}) {
      SCOPED_TRACE(core::str(method, " noise ", noise));
      AdapterConfig adapter;
      adapter.name = method;
      adapter.rank = 8;
      adapter.sparsity = std::string(method).starts_with("snell") ? 0.5 : 0;
      adapter.dropout = adapter.drop_path = noise;
      const auto plain = step(backbone("vit"), adapter);
      for (const char* cache : {"keep", "auto"}) {
        adapter.delta_cache = cache;
        expect_equal(step(backbone("vit"), adapter), plain);
      }
    }
  }
}

}  // namespace
}  // namespace snell::peft
