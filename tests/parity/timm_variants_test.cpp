// Small models of every option against timm's (tests/fixtures/make_timm_variants.py), and the names and shapes of all
// shipped backbones against timm's model of the same name.
#include <gtest/gtest.h>

#include <map>

#include "snell/config/compose.h"
#include "snell/train/job_config.h"
#include "support/fixtures.h"

namespace snell::nn {
namespace {

// The script's numbers for tensor `k`.
at::Tensor pattern(int64_t k, at::IntArrayRef shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  const at::Tensor i = at::arange(count, at::kLong);
  return (at::remainder(i * 7919 + k * 104729, 1009).to(at::kDouble) / 1009 - 0.5).reshape(shape);
}

std::map<std::string, at::Tensor> sorted(const Backbone& backbone) {
  std::map<std::string, at::Tensor> out;
  for (const auto& [name, tensor] : backbone.published()) out[name] = tensor.detach();
  return out;
}

void fill(const Backbone& backbone) {
  int64_t k = 0;
  for (auto& [name, tensor] : sorted(backbone)) {
    const bool norm = tensor.dim() == 1 && (name.ends_with(".weight") || name.ends_with(".gamma"));
    tensor.copy_(pattern(k++, tensor.sizes()) + (norm ? 1 : 0));
  }
}

BackboneConfig backbone_of(const std::vector<std::string>& overrides) {
  std::vector<std::string> all{"data=mnist5k"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  train::JobConfig job;
  config::bind_section(config::compose({{SNELL_SOURCE_DIR "/configs"}}, "config", all).root, "", job);
  return job.backbone;
}

uint64_t fnv1a(const std::string& text) {
  uint64_t value = 0xcbf29ce484222325;
  for (const unsigned char c : text) value = (value ^ c) * 0x100000001b3;
  return value;
}

class TimmVariants : public testing::Test {
 protected:
  const test::Fixture fixture_{test::fixture_folder() + "/timm_variants.safetensors"};
};

TEST_F(TimmVariants, EveryOptionIsTimms) {
  const nlohmann::json cases = fixture_.setting("cases");
  for (const auto& [name, made] : cases.items()) {
    SCOPED_TRACE(name);
    const BackboneConfig config = backbone_of(made.at("overrides").get<std::vector<std::string>>());
    for (const auto& [dtype, tolerance] : {std::pair{at::kDouble, 1e-9}, std::pair{at::kFloat, 1e-4}}) {
      const auto backbone = make_backbone(config, 5, LinearFactory(false), {dtype, at::kCPU});
      fill(*backbone);
      std::map<std::string, std::vector<int64_t>> shapes;
      for (const auto& [tensor_name, tensor] : sorted(*backbone)) shapes[tensor_name] = tensor.sizes().vec();
      EXPECT_EQ(shapes, (made.at("tensors").get<std::map<std::string, std::vector<int64_t>>>()));
      const at::NoGradGuard no_grad;
      const at::Tensor images = pattern(1000, {2, 3, config.image_size, config.image_size}).to(dtype);
      EXPECT_RELATIVE(backbone->forward_features(images, {}), fixture_.tensor(name + ".features"), tolerance,
                      "features");
      EXPECT_RELATIVE(backbone->forward(images, {}), fixture_.tensor(name + ".logits"), tolerance, "logits");
    }
  }
}

TEST_F(TimmVariants, EveryShippedBackboneHasTimmsTensors) {
  const nlohmann::json models = fixture_.setting("models");
  EXPECT_GE(models.size(), 37u);
  for (const auto& [name, expected] : models.items()) {
    SCOPED_TRACE(name);
    const auto backbone =
        make_backbone(backbone_of({"backbone=" + name}), 1000, LinearFactory(false), {at::kFloat, at::kMeta});
    std::string lines;
    for (const auto& [tensor_name, tensor] : sorted(*backbone)) {
      std::vector<std::string> sizes;
      for (const int64_t size : tensor.sizes()) sizes.push_back(std::to_string(size));
      lines += tensor_name + " ";
      for (size_t i = 0; i < sizes.size(); ++i) lines += (i > 0 ? "," : "") + sizes[i];
      lines += "\n";
    }
    EXPECT_EQ(static_cast<int64_t>(backbone->published().size()), expected.at(0).get<int64_t>());
    EXPECT_EQ(count_elements(backbone->published()), expected.at(1).get<int64_t>());
    EXPECT_EQ(fnv1a(lines), std::stoull(expected.at(2).get<std::string>(), nullptr, 16)) << lines;
  }
}

}  // namespace
}  // namespace snell::nn
