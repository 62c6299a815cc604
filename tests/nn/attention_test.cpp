// That attention is one fused function in both passes, not a matrix of scores that is kept.
#include <gtest/gtest.h>
#include <torch/csrc/autograd/function.h>

#include <map>
#include <set>

#include "snell/nn/backbone.h"

namespace snell::nn {
namespace {

// How often each function stands in the graph behind `output`.
std::map<std::string, int> functions_behind(const at::Tensor& output) {
  std::map<std::string, int> names;
  std::set<const torch::autograd::Node*> seen;
  std::vector<const torch::autograd::Node*> waiting{output.grad_fn().get()};
  while (!waiting.empty()) {
    const auto* node = waiting.back();
    waiting.pop_back();
    if (node == nullptr || !seen.insert(node).second) continue;
    ++names[node->name()];
    for (const auto& edge : node->next_edges()) waiting.push_back(edge.function.get());
  }
  return names;
}

TEST(Attention, IsFusedInBothPasses) {
  BackboneConfig config;
  config.image_size = 32;
  config.patch_size = 4;
  config.embed_dim = 16;
  config.num_heads = 2;
  config.depth = 3;
  config.depths = {1, 2};
  config.window_size = 3;  // shifted in the third block, and padded
  for (const std::string name : {"vit", "swin"}) {
    SCOPED_TRACE(name);
    config.name = name;
    const auto backbone = make_backbone(config, 3, LinearFactory(false), {});
    const auto names = functions_behind(backbone->forward(at::zeros({1, 3, 32, 32}).requires_grad_(true), {}));
    EXPECT_EQ(names.at("ScaledDotProductFlashAttentionForCpuBackward0"), 3);
    EXPECT_FALSE(names.contains("SoftmaxBackward0"));
  }
}

}  // namespace
}  // namespace snell::nn
