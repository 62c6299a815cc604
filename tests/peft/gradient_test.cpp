// The autograd function's gradients against finite differences in float64, with and without dropout and drop path.
#include <gtest/gtest.h>

#include "snell/peft/adapted_projection.h"
#include "snell/peft/tuning.h"

namespace snell::peft {
namespace {

constexpr int64_t kIn = 6, kOut = 4;

struct Group {
  std::vector<std::shared_ptr<WeightDelta>> deltas;
  std::unique_ptr<AdaptedProjection> projection;
};

// Two slices, as q and v of a fused qkv with k left alone.
Group make_group(const AdapterConfig& config) {
  const nn::TensorPlace place{at::kDouble, at::kCPU};
  Group group;
  std::vector<AdaptedSlice> slices;
  for (const int64_t begin : {int64_t{0}, 2 * kOut}) {
    auto delta = adapters().get(config.name)("slice" + std::to_string(begin), kIn, kOut, config, place);
    delta->init(3);
    group.deltas.push_back(delta);
    slices.push_back({begin, begin + kOut, delta});
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
  ASSERT_EQ(inputs.size(), 5u);
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

// snell's own gradient is not the derivative of its output: the published code detaches |K|. So dK is held to that
// rule.
TEST(Gradients, OfSnellTreatItsScaleAsAConstant) {
  AdapterConfig config;
  config.rank = 6;
  config.sparsity = 0.5;
  const auto delta = adapters().get("snell")("layer", kIn, kOut, config, {at::kDouble, at::kCPU});
  const auto dense = adapters().get("klora")("layer", kIn, kOut, config, {at::kDouble, at::kCPU});
  delta->init(3);
  dense->init(3);
  const Merged merged = delta->merge({});
  EXPECT_EQ((merged.delta_IO == 0).sum().item<int64_t>(), kIn * kOut / 2);
  const at::Tensor grad = at::randn({kIn, kOut}, at::kDouble);
  const auto actual = delta->factor_grads(merged, grad);
  const auto expected = dense->factor_grads(dense->merge({}), grad * merged.scale_IO);
  for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(at::allclose(actual[i], expected[i], 1e-12, 1e-12));
}

TEST(Gradients, CoincidingRowsGiveZeroAndNoNan) {
  AdapterConfig config;
  config.name = "klora";
  const auto delta = adapters().get("klora")("layer", kIn, kOut, config, {at::kDouble, at::kCPU});
  const auto grads = delta->factor_grads(delta->merge({}), at::ones({kIn, kOut}, at::kDouble));  // all factors are zero
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
