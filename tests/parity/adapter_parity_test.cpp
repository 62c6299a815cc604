// Every kernel adapter of the fixtures (klora, mixk, snell, snella): merged matrix, threshold, output and all
// gradients.
#include <gtest/gtest.h>

#include "snell/peft/adapted_projection.h"
#include "snell/peft/tuning.h"
#include "support/fixtures.h"

namespace snell::peft {
namespace {

struct Tolerance {
  at::ScalarType dtype;
  double value, gradient;
};

void check_adapter(const std::string& path, const Tolerance& tolerance) {
  SCOPED_TRACE(path + (tolerance.dtype == at::kDouble ? " float64" : " float32"));
  const test::Fixture fixture(path);
  const auto tensor = [&](const std::string& name) { return fixture.tensor(name, tolerance.dtype); };
  AdapterConfig config;
  config.name = fixture.setting("kind").get<std::string>();
  config.rank = fixture.number("rank");
  config.sparsity = fixture.setting("threshold").get<double>();
  if (fixture.source().metadata().contains("norm_p")) config.norm_p = fixture.setting("norm_p").get<double>();
  const int64_t in = fixture.number("in_features"), out = fixture.number("out_features");
  const nn::TensorPlace place{tolerance.dtype, at::kCPU};
  const auto branch = adapters().get(config.name)("layer", in, out, config, place);
  const auto short_name = [](const std::string& name) { return name.substr(name.rfind('.') + 1); };
  for (const auto& factor : branch->factors()) factor.tensor.detach().copy_(tensor("param." + short_name(factor.name)));
  const auto& delta = dynamic_cast<const KernelDelta&>(dynamic_cast<const DeltaBranch&>(*branch).delta());
  const auto check_merged = [&](const at::Tensor& delta_IO, const at::Tensor& threshold) {
    if (fixture.has("merged_sparse")) {
      EXPECT_RELATIVE(delta_IO, tensor("merged_sparse"), tolerance.value, "merged_sparse");
      EXPECT_RELATIVE(threshold.reshape({1}), tensor("threshold"), tolerance.value, "threshold");
    } else {
      EXPECT_RELATIVE(delta_IO, tensor("merged_dense"), tolerance.value, "merged_dense");
    }
  };
  const Merged merged = delta.merge({});
  check_merged(merged.delta_IO, merged.threshold);
  at::Tensor weight_OI = at::empty({out, in}, place.options());
  const at::Tensor threshold = delta.merge_into(weight_OI, {}, {});
  check_merged(weight_OI.t(), threshold);

  const nn::ProjectionSpec spec{"layer", in, out, false, {{"fc1", "", 0, out}}, 0, true};
  const AdaptedProjection group(spec, {{0, out, branch}}, {0, 0}, place);
  const at::Tensor x = tensor("x").requires_grad_(true);
  const at::Tensor y = group.forward(x, core::StepContext{});
  y.backward(tensor("grad_y"));
  EXPECT_RELATIVE(y, tensor("y"), tolerance.value, "y");
  EXPECT_RELATIVE(x.grad(), tensor("grad_x"), tolerance.gradient, "grad_x");
  for (const auto& factor : branch->factors()) {
    const std::string name = "grad." + short_name(factor.name);
    EXPECT_RELATIVE(factor.tensor.grad(), tensor(name), tolerance.gradient, name);
  }
}

TEST(AdapterParity, Float64) {
  for (const auto& path : test::fixture_files({"adapter_"})) {
    check_adapter(path, {at::kDouble, 1e-9, 1e-9});
  }
}

TEST(AdapterParity, Float32) {
  for (const auto& path : test::fixture_files({"adapter_"})) {
    check_adapter(path, {at::kFloat, 1e-5, 1e-4});
  }
}

}  // namespace
}  // namespace snell::peft
