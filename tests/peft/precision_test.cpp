// 16-bit backbones: which tensor has which type, and how far the numbers are from float32's.
#include <gtest/gtest.h>

#include "peft/small_backbone.h"
#include "snell/peft/tuning.h"

namespace snell::peft {
namespace {

struct Outcome {
  TunedModel model;
  at::Tensor features, logits;
};

// The same start values in each type: the draws do not depend on it.
Outcome run(const std::string& backbone_name, const std::string& adapter_name, at::ScalarType dtype) {
  AdapterConfig adapter;
  adapter.name = adapter_name;
  adapter.rank = 8;
  adapter.sparsity = adapter_name.starts_with("snell") ? 0.5 : 0;
  adapter.dropout = adapter.drop_path = 0;
  const nn::BackboneConfig config = small_backbone(backbone_name);
  Outcome out{make_tuned_model(config, adapter, 3, 1, {dtype, at::kCPU}), {}, {}};
  const at::Tensor images = made_up_images(config, dtype);
  out.features = out.model.backbone->forward_features(images, {});
  out.logits = out.model.backbone->forward(images, {});
  at::cross_entropy_loss(out.logits, at::tensor({0, 1, 2, 1}, at::kLong)).backward();
  return out;
}

// Share of the norm of `b` by which all gradients together are off.
double gradient_error(const Outcome& a, const Outcome& b) {
  double difference = 0, norm = 0;
  const auto ours = a.model.backbone->trainable(), theirs = b.model.backbone->trainable();
  for (size_t i = 0; i < ours.size(); ++i) {
    difference += (ours[i].tensor.grad() - theirs[i].tensor.grad()).pow(2).sum().item<double>();
    norm += theirs[i].tensor.grad().pow(2).sum().item<double>();
  }
  return std::sqrt(difference / norm);
}

struct Bounds {
  at::ScalarType dtype;
  double logits, gradients;  // relative
};

void check(const std::string& backbone_name, const std::string& adapter, const Bounds& bounds) {
  SCOPED_TRACE(core::str(backbone_name, " ", adapter, " ", c10::toString(bounds.dtype)));
  const Outcome exact = run(backbone_name, adapter, at::kFloat), rounded = run(backbone_name, adapter, bounds.dtype);
  const auto& model = *rounded.model.backbone;
  for (const auto& [name, tensor] : model.published()) {
    const bool may_train = tensor.requires_grad() || name == "cls_token" || name.starts_with("head.");
    EXPECT_EQ(tensor.scalar_type(), adapter == "full" || may_train ? at::kFloat : bounds.dtype) << name;
  }
  for (const auto& [name, tensor] : model.adapters()) EXPECT_EQ(tensor.scalar_type(), at::kFloat) << name;
  for (const auto& [name, tensor] : model.trainable()) EXPECT_EQ(tensor.grad().scalar_type(), at::kFloat) << name;
  EXPECT_EQ(rounded.features.scalar_type(), bounds.dtype);
  EXPECT_EQ(rounded.logits.scalar_type(), at::kFloat);
  for (const auto& branch : rounded.model.branches) {
    if (const at::Tensor delta = branch.branch->merged(); delta.defined()) {
      EXPECT_EQ(delta.scalar_type(), at::kFloat) << branch.name;
    }
  }
  const double logits_error = (rounded.logits - exact.logits).abs().max().item<double>();
  EXPECT_LE(logits_error, bounds.logits * exact.logits.abs().max().item<double>());
  EXPECT_LE(gradient_error(rounded, exact), bounds.gradients);
}

void check_all(const Bounds& bounds) {
  for (const auto& adapter : {"snell", "snella", "lora_bias", "adapter", "linear", "full"}) {
    for (const auto& name : nn::backbones().names()) check(name, adapter, bounds);
  }
}

TEST(Precision, BFloat16) {
  check_all({at::kBFloat16, 3e-2, 3e-2});
}
TEST(Precision, Float16) {
  check_all({at::kHalf, 4e-3, 4e-3});
}

// Where nothing has 16 bits nothing is converted.
TEST(Precision, AFloat64ModelIsFloat64Throughout) {
  const Outcome out = run("vit", "snell", at::kDouble);
  for (const auto& [name, tensor] : out.model.backbone->published()) EXPECT_EQ(tensor.scalar_type(), at::kDouble);
  for (const auto& [name, tensor] : out.model.backbone->adapters()) EXPECT_EQ(tensor.scalar_type(), at::kDouble);
  EXPECT_EQ(out.logits.scalar_type(), at::kDouble);
}

}  // namespace
}  // namespace snell::peft
