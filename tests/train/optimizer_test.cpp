// The fused kernels against LibTorch's optimizers, which go parameter by parameter.
#include "snell/train/optimizer.h"

#include <gtest/gtest.h>
#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>

namespace snell::train {
namespace {

// A matrix and a filter that lies channels last (they decay), a bias (it does not), a parameter without a gradient.
nn::Parameters made_up(at::ScalarType dtype) {
  at::manual_seed(7);
  const auto options = at::TensorOptions(dtype);
  nn::Parameters out{{"blocks.0.fc1.weight", at::randn({37, 53}, options)},
                     {"stem.weight", at::randn({6, 3, 4, 4}, options).contiguous(at::MemoryFormat::ChannelsLast)},
                     {"blocks.0.fc1.bias", at::randn({37}, options)},
                     {"unused.weight", at::randn({2, 2}, options)}};
  for (auto& parameter : out) parameter.tensor.requires_grad_();
  return out;
}

void set_gradients(const nn::Parameters& parameters, int64_t step) {
  at::manual_seed(static_cast<uint64_t>(100 + step));
  for (const auto& [name, tensor] : parameters) {
    if (name == "unused.weight") continue;
    at::Tensor grad = at::randn(tensor.sizes(), tensor.options().requires_grad(false));
    // A transposed one, as no layer here makes it.
    if (name == "blocks.0.fc1.weight") grad = grad.t().contiguous().t();
    if (name == "stem.weight") grad = grad.contiguous(at::MemoryFormat::ChannelsLast);
    tensor.mutable_grad() = grad;
  }
}

template <class LibTorch, class Options>
void expect_same_steps(const OptimConfig& config, at::ScalarType dtype, double tolerance, const Options& base) {
  const nn::Parameters ours = made_up(dtype), theirs = made_up(dtype);
  Optimizer optimizer(ours, config);
  auto decayed = base, plain = base;
  decayed.weight_decay(config.weight_decay);
  plain.weight_decay(0);
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(std::vector<at::Tensor>{theirs[0].tensor, theirs[1].tensor, theirs[3].tensor},
                      std::make_unique<Options>(decayed));
  groups.emplace_back(std::vector<at::Tensor>{theirs[2].tensor}, std::make_unique<Options>(plain));
  LibTorch expected(groups, base);
  for (int64_t step = 0; step < 6; ++step) {
    const double lr = config.lr / static_cast<double>(1 + step);
    set_gradients(ours, step);
    set_gradients(theirs, step);
    optimizer.set_learning_rate(lr);
    for (auto& group : expected.param_groups()) group.options().set_lr(lr);
    optimizer.step();
    expected.step();
  }
  for (size_t i = 0; i < ours.size(); ++i) {
    EXPECT_TRUE(at::allclose(ours[i].tensor, theirs[i].tensor, tolerance, tolerance)) << ours[i].name;
  }
  EXPECT_TRUE(at::equal(ours[3].tensor, made_up(dtype)[3].tensor));
}

TEST(Optimizer, AdamWIsLibTorchs) {
  OptimConfig config;
  config.lr = 0.1;
  config.weight_decay = 0.3;
  config.betas = {0.8, 0.95};
  const auto base = torch::optim::AdamWOptions(config.lr).betas({0.8, 0.95}).eps(config.eps);
  expect_same_steps<torch::optim::AdamW>(config, at::kDouble, 1e-13, base);
  expect_same_steps<torch::optim::AdamW>(config, at::kFloat, 1e-5, base);
}

TEST(Optimizer, SgdIsLibTorchsWithAndWithoutMomentum) {
  OptimConfig config;
  config.name = "sgd";
  config.lr = 0.1;
  config.weight_decay = 0.3;
  for (const double momentum : {0.0, 0.9}) {
    config.momentum = momentum;
    const auto base = torch::optim::SGDOptions(config.lr).momentum(momentum);
    expect_same_steps<torch::optim::SGD>(config, at::kDouble, 1e-13, base);
    expect_same_steps<torch::optim::SGD>(config, at::kFloat, 1e-5, base);
  }
}

TEST(Optimizer, StateHasTheParametersNamesAndOrder) {
  OptimConfig config;
  const Optimizer adam(made_up(at::kFloat), config);
  ASSERT_EQ(adam.state().size(), 8U);
  EXPECT_EQ(adam.state()[0].name, "optim/exp_avg/blocks.0.fc1.weight");
  EXPECT_EQ(adam.state()[3].name, "optim/exp_avg_sq/stem.weight");
  config.name = "sgd";
  EXPECT_EQ(Optimizer(made_up(at::kFloat), config).state()[2].name, "optim/momentum/blocks.0.fc1.bias");
}

TEST(Optimizer, ClipScalesDownToTheNormAndNeverUp) {
  const nn::Parameters parameters = made_up(at::kDouble);
  set_gradients(parameters, 0);
  const Optimizer optimizer(parameters, {});
  const double before = optimizer.clip(0).item<double>();
  EXPECT_NEAR(optimizer.clip(2 * before).item<double>(), before, 1e-12);
  EXPECT_NEAR(optimizer.clip(before / 4).item<double>(), before, 1e-12);
  EXPECT_NEAR(optimizer.clip(0).item<double>(), before / 4, 1e-6);
}

}  // namespace
}  // namespace snell::train
