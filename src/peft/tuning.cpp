#include "snell/peft/tuning.h"

#include <set>

#include "snell/core/log.h"
#include "snell/peft/adapted_projection.h"

namespace snell::peft {
namespace {

const std::vector<std::string> kWithoutDelta{"linear", "full"};

std::vector<std::string> method_names() {
  auto names = adapters().names();
  names.insert(names.end(), kWithoutDelta.begin(), kWithoutDelta.end());
  return names;
}

bool has_delta(const AdapterConfig& config) {
  return std::find(kWithoutDelta.begin(), kWithoutDelta.end(), config.name) == kWithoutDelta.end();
}

// Puts a ΔW on each selected slice; a group without any is a plain frozen layer.
class AdapterFactory : public nn::ProjectionFactory {
 public:
  AdapterFactory(const AdapterConfig& config, std::vector<NamedDelta>& deltas) : config_(config), deltas_(deltas) {}

  std::unique_ptr<nn::ProjectionGroup> make(const nn::ProjectionSpec& spec,
                                            const nn::TensorPlace& place) const override {
    std::vector<AdaptedSlice> slices;
    for (const auto& slice : spec.slices) {
      if (std::find(config_.targets.begin(), config_.targets.end(), slice.name) == config_.targets.end()) continue;
      auto delta = adapters().get(config_.name)(slice.parent + ".additional_" + slice.name, spec.in_features,
                                                slice.end - slice.begin, config_, place);
      deltas_.push_back({slice.parent + "." + slice.name, delta});
      slices.push_back({slice.begin, slice.end, std::move(delta)});
      matched_.insert(slice.name);
    }
    if (slices.empty()) return nn::LinearFactory(false).make(spec, place);
    return std::make_unique<AdaptedProjection>(spec, std::move(slices),
                                               AdapterNoise{config_.dropout, config_.drop_path}, place);
  }

  void warn_of_unmatched() const {
    for (const auto& target : config_.targets) {
      if (!matched_.contains(target)) {
        core::log_warning(core::str("adapter.targets names '", target, "', which this backbone does not have"));
      }
    }
  }

 private:
  const AdapterConfig& config_;
  std::vector<NamedDelta>& deltas_;
  mutable std::set<std::string> matched_;
};

void select_trainable(const nn::Backbone& backbone, const AdapterConfig& config) {
  for (auto& [name, tensor] : backbone.published()) {
    const bool is_head = name.starts_with("head.");
    const bool is_tuned_token = name == "cls_token" && config.class_token;
    at::Tensor(tensor).requires_grad_(config.name == "full" || is_head || is_tuned_token);
  }
}

core::Registry<DeltaFactory> all_adapters() {
  const auto shape = [](int64_t in, int64_t out, const AdapterConfig& c) {
    return KernelDelta::Shape{in, out, c.rank, c.heads, c.norm_p};
  };
  core::Registry<DeltaFactory> registry("adapter");
  registry.add("klora", [shape](const std::string& path, int64_t in, int64_t out, const AdapterConfig& c,
                                const nn::TensorPlace& place) {
    return std::make_shared<KernelDelta>(path, shape(in, out, c), 0.0, std::make_unique<KeepAll>(), place);
  });
  registry.add("snell", [shape](const std::string& path, int64_t in, int64_t out, const AdapterConfig& c,
                                const nn::TensorPlace& place) {
    std::unique_ptr<Sparsifier> sparsifier = std::make_unique<HardThreshold>(c.sparsity);
    if (c.sparsity == 0) sparsifier = std::make_unique<KeepAll>();  // the published code's s = 0: not squared
    return std::make_shared<KernelDelta>(path, shape(in, out, c), c.sparsity, std::move(sparsifier), place);
  });
  return registry;
}

}  // namespace

void bind(config::Binder& b, AdapterConfig& c) {
  b.field("name", c.name, "tuning method: an adapter, linear (head only) or full", config::one_of(method_names()));
  b.field("rank", c.rank, "low-rank dimension: columns of each factor over all heads", config::in_range(1, 65536));
  b.field("heads", c.heads, "kernel heads; each has rank/heads columns", config::in_range(1, 1024));
  b.field("norm_p", c.norm_p, "p of the kernel's distance", config::positive());
  b.field("sparsity", c.sparsity, "share of ΔW's entries that is zeroed (the published init_thres)",
          config::fraction());
  b.field("dropout", c.dropout, "dropout on the adapter's input", config::in_range(0, 0.99));
  b.field("drop_path", c.drop_path, "drop path on each adapter's output", config::in_range(0, 0.99));
  b.field("targets", c.targets, "projections that get an adapter: q, k, v, proj, fc1, fc2");
  b.field("class_token", c.class_token, "whether the class token trains");
  b.require(c.rank % c.heads == 0, "rank", core::str("must be a multiple of heads (", c.heads, ")"));
}

const core::Registry<DeltaFactory>& adapters() {
  static const core::Registry<DeltaFactory> registry = all_adapters();
  return registry;
}

TunedModel make_tuned_model(const nn::BackboneConfig& backbone, const AdapterConfig& adapter, int64_t num_classes,
                            uint64_t seed, const nn::TensorPlace& place) {
  TunedModel model;
  if (has_delta(adapter)) {
    const AdapterFactory factory(adapter, model.deltas);
    model.backbone = nn::make_backbone(backbone, num_classes, factory, place);
    factory.warn_of_unmatched();
  } else {
    model.backbone = nn::make_backbone(backbone, num_classes, nn::LinearFactory(adapter.name == "full"), place);
  }
  model.backbone->init_published(seed);
  model.backbone->init_head(seed);
  for (auto& named : model.deltas) named.delta->init(seed);
  select_trainable(*model.backbone, adapter);
  return model;
}

}  // namespace snell::peft
