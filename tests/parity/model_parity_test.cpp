// Whole backbones under each adapter: logits, loss, and the gradient of every trainable parameter.
#include <gtest/gtest.h>

#include <map>

#include "support/model_fixture.h"

namespace snell {
namespace {

struct Tolerance {
  at::ScalarType dtype;
  double value, gradient;
};

void check_model(const std::string& path, const Tolerance& tolerance) {
  SCOPED_TRACE(path + (tolerance.dtype == at::kDouble ? " float64" : " float32"));
  const test::Fixture fixture(path);
  const at::Tensor expected_logits = fixture.tensor("logits", tolerance.dtype);
  auto model =
      test::make_model(fixture, fixture.setting("tuning").get<std::string>(), expected_logits.size(1), tolerance.dtype);
  test::load_parameters(model, fixture, "param.");

  std::vector<std::string> trainable;
  for (const auto& parameter : model.backbone->trainable()) {
    trainable.push_back(test::fixture_name(fixture, parameter.name));
  }
  std::sort(trainable.begin(), trainable.end());
  EXPECT_EQ(trainable, fixture.setting("trainable").get<std::vector<std::string>>());

  const at::Tensor logits = model.backbone->forward(fixture.tensor("images", tolerance.dtype), core::StepContext{});
  const at::Tensor loss = at::cross_entropy_loss(logits, fixture.tensor("labels"));
  loss.backward();
  EXPECT_RELATIVE(logits, expected_logits, tolerance.value, "logits");
  EXPECT_RELATIVE(loss.reshape({1}), fixture.tensor("loss"), tolerance.value, "loss");
  // The mixed kernel's scalars: one tensor over all layers each. Their gradients are sums that cancel; beta's is even
  // zero in exact arithmetic where a LayerNorm follows, so that a layer's own size says nothing of the rounding.
  std::map<std::string, std::array<std::vector<at::Tensor>, 2>> scalars;
  for (const auto& [name, tensor] : model.backbone->trainable()) {
    const at::Tensor expected = fixture.tensor("grad." + test::fixture_name(fixture, name), tolerance.dtype);
    if (const auto at = name.find(".learnable."); at != std::string::npos && tensor.numel() == 1) {
      scalars[name.substr(at)][0].push_back(tensor.grad());
      scalars[name.substr(at)][1].push_back(expected);
    } else {
      EXPECT_RELATIVE(tensor.grad(), expected, tolerance.gradient, name);
    }
  }
  for (const auto& [name, both] : scalars) {
    EXPECT_RELATIVE(at::cat(both[0]), at::cat(both[1]), tolerance.gradient, name);
  }
}

TEST(ModelParity, Float64) {
  for (const auto& path : test::fixture_files({"model_"})) check_model(path, {at::kDouble, 1e-9, 1e-9});
}

TEST(ModelParity, Float32) {
  for (const auto& path : test::fixture_files({"model_"})) check_model(path, {at::kFloat, 1e-5, 1e-4});
}

}  // namespace
}  // namespace snell
