// How a backbone is tuned: which adapter its projections get, and which of its tensors train.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "snell/config/binder.h"
#include "snell/core/registry.h"
#include "snell/nn/backbone.h"
#include "snell/peft/adapted_projection.h"
#include "snell/peft/branch.h"
#include "snell/peft/budget_allocator.h"

namespace snell::peft {

struct AdapterConfig {
  std::string name = "snell";  // an adapter of adapters(), "linear" (the head only) or "full" (everything)
  int64_t rank = 32;
  int64_t heads = 2;
  double norm_p = 2;
  double sparsity = 0;
  std::string sparsifier = "hard_threshold";
  std::vector<std::string> layer_sparsity;
  double dropout = 0.1;
  double drop_path = 0.1;
  std::vector<std::string> targets{"q", "k", "v", "proj", "fc1", "fc2"};
  std::vector<std::string> exclude;
  bool class_token = true;
  std::string delta_cache = "recompute";
  int64_t delta_cache_mb = 1024;
  AllocatorConfig allocator;
};

void bind(config::Binder& binder, AdapterConfig& config);

using BranchFactory =
    std::function<std::shared_ptr<Branch>(const std::string& path, int64_t in_features, int64_t out_features,
                                          const AdapterConfig& config, const nn::TensorPlace& place)>;
// All adapters, by name.
const core::Registry<BranchFactory>& adapters();

// A layer whose published weight the adapters of its slices change: "blocks.0.attn.qkv".
struct AdaptedLayer {
  std::string name;
  std::vector<AdaptedSlice> slices;
};

// A model with its adapters in place, initialised from the seed, and requires_grad set.
struct TunedModel {
  std::unique_ptr<nn::Backbone> backbone;
  std::vector<NamedBranch> branches;
  std::vector<AdaptedLayer> layers;  // the same adapters by layer
};

// Builds the backbone with `adapter` entered into its projections. Published tensors are initialised from `seed` (a
// weight file is loaded over them afterwards) unless `draw_published` is false: then a file or init_published() fills
// them; adapters and head are drawn always. Warns of patterns that matched nothing. On the meta device nothing is
// computed: names, shapes and types alone.
TunedModel make_tuned_model(const nn::BackboneConfig& backbone, const AdapterConfig& adapter, int64_t num_classes,
                            uint64_t seed, const nn::TensorPlace& place, bool draw_published = true);

}  // namespace snell::peft
