// The autograd function's gradients against finite differences in float64, with and without dropout and drop path.
#include <gtest/gtest.h>

#include "snell/peft/adapted_projection.h"
#include "snell/peft/tuning.h"

namespace snell::peft {
namespace {

constexpr int64_t kIn = 6, kOut = 4;

struct Group {
  std::vector<std::shared_ptr<Branch>> branches;
  std::unique_ptr<AdaptedProjection> projection;
};

const KernelDelta& delta_of(const Branch& branch) {
  return dynamic_cast<const KernelDelta&>(dynamic_cast<const DeltaBranch&>(branch).delta());
}

// Two slices, as q and v of a fused qkv with k left alone.
Group make_group(const AdapterConfig& config) {
  const nn::TensorPlace place{at::kDouble, at::kCPU};
  Group group;
  std::vector<AdaptedSlice> slices;
  for (const int64_t begin : {int64_t{0}, 2 * kOut}) {
    auto branch = adapters().get(config.name)("slice" + std::to_string(begin), kIn, kOut, config, place);
    branch->init(3);
    for (const auto& factor : branch->factors()) {  // those that start at zero or one would hide mistakes
      if (!factor.name.ends_with("_Qs")) factor.tensor.detach().uniform_(0.4, 1.4);
    }
    group.branches.push_back(branch);
    slices.push_back({begin, begin + kOut, branch});
  }
  const nn::ProjectionSpec spec{"qkv", kIn, 3 * kOut, true, {}, 5, true};
  group.projection =
      std::make_unique<AdaptedProjection>(spec, slices, AdapterNoise{config.dropout, config.drop_path}, place);
  for (auto& [name, tensor] : group.projection->published()) at::Tensor(tensor).normal_(0, 0.3);
  return group;
}

void check_gradients(const AdapterConfig& config, bool training) {
  SCOPED_TRACE(config.name + (training ? " training" : " evaluation"));
  at::manual_seed(1);
  const Group group = make_group(config);
  const core::StepContext context{11, 2, 40, training};
  at::Tensor x = at::randn({3, 2, kIn}, at::kDouble).requires_grad_(true);
  const at::Tensor weight = at::randn({3, 2, 3 * kOut}, at::kDouble);
  const auto loss = [&] { return (group.projection->forward(x, context) * weight).sum(); };
  std::vector<at::Tensor> inputs{x};
  for (const auto& parameter : group.projection->adapters()) inputs.push_back(parameter.tensor);
  ASSERT_EQ(inputs.size(), 1 + 2 * group.branches[0]->factors().size());
  loss().backward();
  const at::NoGradGuard no_grad;
  for (const auto& input : inputs) {
    double* data = input.mutable_data_ptr<double>();
    const at::Tensor grad = input.grad().contiguous();
    for (int64_t i = 0; i < input.numel(); ++i) {
      constexpr double kStep = 1e-6;
      const double kept = data[i];
      data[i] = kept + kStep;
      const double above = loss().item<double>();
      data[i] = kept - kStep;
      const double below = loss().item<double>();
      data[i] = kept;
      EXPECT_NEAR(grad.const_data_ptr<double>()[i], (above - below) / (2 * kStep), 1e-7);
    }
  }
}

TEST(Gradients, OfKloraAgainstFiniteDifferences) {
  for (const double p : {1.0, 2.0, 3.0}) {
    AdapterConfig config;
    config.name = "klora";
    config.rank = 6;
    config.norm_p = p;
    for (const bool training : {false, true}) check_gradients(config, training);
  }
}

TEST(Gradients, OfTheOthersAgainstFiniteDifferences) {
  for (const char* name : {"mixk", "lora", "lora_bias", "adapter"}) {
    AdapterConfig config;
    config.name = name;
    config.rank = 6;
    config.heads = 3;
    for (const bool training : {false, true}) check_gradients(config, training);
  }
}

// A branch that has a matrix: x·ΔW + bias is what it computes.
TEST(Branches, AreTheirMatrix) {
  for (const char* name : {"klora", "mixk", "snell", "snella", "lora", "lora_bias"}) {
    AdapterConfig config;
    config.name = name;
    config.rank = 6;
    config.sparsity = 0.4;
    const Group group = make_group(config);
    const Branch& branch = *group.branches[0];
    ASSERT_TRUE(branch.merged().defined()) << name;
    const at::Tensor x = at::randn({5, kIn}, at::kDouble);
    Kept kept;
    at::Tensor expected = x.mm(branch.merged());
    if (branch.bias().defined()) expected.add_(branch.bias());
    EXPECT_TRUE(at::allclose(branch.forward(x, kept), expected, 1e-12, 1e-12)) << name;
  }
  AdapterConfig config;
  config.name = "adapter";
  EXPECT_FALSE(make_group(config).branches[0]->merged().defined());
}

// snell's own gradient is not the derivative of its output: the published code detaches |K|. So dK is held to that
// rule.
TEST(Gradients, OfSnellTreatItsScaleAsAConstant) {
  AdapterConfig config;
  config.rank = 6;
  config.sparsity = 0.5;
  for (const auto& [sparse_name, dense_name] : {std::pair{"snell", "klora"}, std::pair{"snella", "mixk"}}) {
    for (const char* sparsifier : {"hard_threshold", "soft_threshold"}) {
      SCOPED_TRACE(std::string(sparse_name) + " " + sparsifier);
      config.sparsifier = sparsifier;
      const auto branch = adapters().get(sparse_name)("layer", kIn, kOut, config, {at::kDouble, at::kCPU});
      const auto dense_branch = adapters().get(dense_name)("layer", kIn, kOut, config, {at::kDouble, at::kCPU});
      branch->init(3);
      dense_branch->init(3);
      const KernelDelta &delta = delta_of(*branch), &dense = delta_of(*dense_branch);
      const Merged merged = delta.merge({});
      EXPECT_EQ((merged.delta_IO == 0).sum().item<int64_t>(), kIn * kOut / 2);
      const at::Tensor grad = at::randn({kIn, kOut}, at::kDouble);
      const auto actual = delta.factor_grads(merged, grad);
      const auto expected = dense.factor_grads(dense.merge({}), grad * merged.scale_IO);
      for (size_t i = 0; i < actual.size(); ++i) EXPECT_TRUE(at::allclose(actual[i], expected[i], 1e-12, 1e-12));
    }
  }
}

// The paper's Eq. 5: K·max(|K| − q_s(|K|), 0).
TEST(Sparsifiers, SoftThresholdIsThePapersEquation) {
  const at::Tensor kernel = at::tensor({0.1, -0.2, 0.3, -0.4, 0.5, -0.6}, at::kDouble).view({2, 3});
  const Sparsified sparse = SoftThreshold(0.5)(kernel, {});
  EXPECT_NEAR(sparse.threshold.item<double>(), 0.35, 1e-12);
  const at::Tensor expected =
      at::tensor({0.0, 0.0, 0.0, -0.4 * 0.05, 0.5 * 0.15, -0.6 * 0.25}, at::kDouble).view({2, 3});
  EXPECT_TRUE(at::allclose(kernel * sparse.scale_IO, expected, 1e-12, 1e-12));
}

TEST(Gradients, CoincidingRowsGiveZeroAndNoNan) {
  AdapterConfig config;
  config.name = "klora";
  const auto branch = adapters().get("klora")("layer", kIn, kOut, config, {at::kDouble, at::kCPU});
  const KernelDelta& delta = delta_of(*branch);
  const auto grads = delta.factor_grads(delta.merge({}), at::ones({kIn, kOut}, at::kDouble));  // all factors are zero
  for (const auto& grad : grads) EXPECT_EQ(grad.abs().max().item<double>(), 0.0);
}

TEST(Noise, MasksDoNotDependOnTheShard) {
  AdapterConfig config;
  config.rank = 6;
  config.sparsity = 0.3;
  config.dropout = config.drop_path = 0.5;
  const Group group = make_group(config);
  const at::NoGradGuard no_grad;
  const at::Tensor x = at::randn({4, 2, kIn}, at::kDouble);
  const at::Tensor whole = group.projection->forward(x, {1, 2, 8, true});
  const at::Tensor part = group.projection->forward(x.slice(0, 2, 4), {1, 2, 10, true});
  EXPECT_TRUE(at::allclose(whole.slice(0, 2, 4), part, 1e-13, 1e-13));
}

}  // namespace
}  // namespace snell::peft
