#include "snell/peft/tuning.h"

#include <charconv>
#include <set>

#include "snell/core/error.h"
#include "snell/core/log.h"
#include "snell/peft/adapted_projection.h"
#include "snell/peft/layer_pattern.h"

namespace snell::peft {
namespace {

const std::vector<std::string> kWithoutAdapter{"linear", "full"};

std::vector<std::string> method_names() {
  auto names = adapters().names();
  names.insert(names.end(), kWithoutAdapter.begin(), kWithoutAdapter.end());
  return names;
}

bool has_adapter(const AdapterConfig& config) {
  return std::ranges::find(kWithoutAdapter, config.name) == kWithoutAdapter.end();
}

bool competes(const AdapterConfig& config) {
  return config.name == "snell" || config.name == "snella";
}

bool has_kernel(const AdapterConfig& config) {
  return config.name == "klora" || config.name == "mixk" || competes(config);
}

std::vector<LayerPattern> parse_patterns(const std::vector<std::string>& texts, const std::string& setting) {
  std::vector<LayerPattern> out;
  for (const auto& text : texts) out.emplace_back(text, setting);
  return out;
}

// "attn.q=0.5": a pattern and its layers' sparsity.
struct LayerSparsity {
  LayerPattern pattern;
  double sparsity;
};

std::vector<LayerSparsity> parse_layer_sparsity(const std::vector<std::string>& texts) {
  const std::string setting = "adapter.layer_sparsity";
  std::vector<LayerSparsity> out;
  for (const auto& text : texts) {
    const size_t equals = text.rfind('=');
    const std::string number = equals == std::string::npos ? "" : text.substr(equals + 1);
    double sparsity = -1;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), sparsity);
    if (error != std::errc() || end != number.data() + number.size() || !(sparsity >= 0 && sparsity <= 1)) {
      throw core::ConfigError(
          core::str(setting, " holds '", text, "'; write a pattern, '=' and a number in [0, 1], such as 'attn.q=0.5'"));
    }
    out.push_back({LayerPattern(text.substr(0, equals), setting), sparsity});
  }
  return out;
}

// Puts an adapter on each selected slice; a group without any is a plain frozen layer.
class AdapterFactory : public nn::ProjectionFactory {
 public:
  AdapterFactory(const AdapterConfig& config, TunedModel& model)
      : config_(config),
        model_(model),
        targets_(parse_patterns(config.targets, "adapter.targets")),
        excluded_(parse_patterns(config.exclude, "adapter.exclude")),
        layer_sparsity_(parse_layer_sparsity(config.layer_sparsity)) {}

  std::unique_ptr<nn::ProjectionGroup> make(const nn::ProjectionSpec& spec,
                                            const nn::TensorPlace& place) const override {
    std::vector<AdaptedSlice> slices;
    for (const auto& slice : spec.slices) {
      const std::string name = slice.parent + "." + slice.name;
      const bool excluded = matches_any(excluded_, name);  // looked at first, so that it counts as matched
      if (!matches_any(targets_, name) || excluded) continue;
      AdapterConfig own = config_;
      own.sparsity = sparsity_of(name);
      std::shared_ptr<Branch> branch = adapters().get(config_.name)(
          slice.parent + ".additional_" + slice.name, spec.in_features, slice.end - slice.begin, own, place);
      model_.branches.push_back({name, branch});
      slices.push_back({slice.begin, slice.end, std::move(branch)});
    }
    if (slices.empty()) return nn::LinearFactory(false).make(spec, place);
    model_.layers.push_back({spec.path, slices});
    const auto bytes = static_cast<int64_t>(c10::elementSize(place.dtype)) * spec.in_features * spec.out_features;
    candidates_.push_back({bytes, std::make_shared<bool>(config_.delta_cache == "keep")});
    return std::make_unique<AdaptedProjection>(
        spec, std::move(slices), AdapterNoise{config_.dropout, config_.drop_path}, place, candidates_.back().keeps);
  }

  // delta_cache=auto: the largest first, since the time that keeping saves grows as the matrix does; in the order of
  // the forward pass among equals.
  void choose_kept() const {
    if (config_.delta_cache != "auto") return;
    std::ranges::stable_sort(candidates_, std::greater(), &KeepCandidate::bytes);
    int64_t left = config_.delta_cache_mb * 1'000'000;
    for (auto& candidate : candidates_) {
      if (candidate.bytes > left) continue;
      *candidate.keeps = true;
      left -= candidate.bytes;
    }
  }

  // Of settings that changed nothing.
  void warn_of_unused() const {
    if (!competes(config_) && (config_.sparsity > 0 || !layer_sparsity_.empty())) {
      core::log_warning(core::str("adapter.sparsity and adapter.layer_sparsity mean nothing to adapter '", config_.name,
                                  "'; snell and snella have one"));
    }
    const AdapterConfig usual;
    const auto warn_of = [&](bool changed, const std::string& setting, const char* who) {
      if (changed) {
        core::log_warning(core::str("adapter.", setting, " means nothing to adapter '", config_.name, "'; ", who));
      }
    };
    if (!has_kernel(config_)) {
      warn_of(config_.heads != usual.heads, "heads", "those with a kernel have some");
      warn_of(config_.norm_p != usual.norm_p, "norm_p", "those with a kernel have one");
    }
    if (!competes(config_)) {
      warn_of(config_.sparsifier != usual.sparsifier, "sparsifier", "snell and snella have one");
    }
    const auto warn = [&](const LayerPattern& pattern, const std::string& setting) {
      if (matched_.contains(&pattern)) return;
      core::log_warning(
          core::str(setting, " names '", pattern.text(), "', which no projection of this backbone matches"));
    };
    // The default names the projections of every backbone; not each has all of them.
    if (config_.targets != AdapterConfig{}.targets) {
      for (const auto& pattern : targets_) warn(pattern, "adapter.targets");
    }
    for (const auto& pattern : excluded_) warn(pattern, "adapter.exclude");
    for (const auto& entry : layer_sparsity_) warn(entry.pattern, "adapter.layer_sparsity");
    if (model_.branches.empty()) {
      throw core::ConfigError(
          "adapter.targets and adapter.exclude leave no projection to adapt; adapter=linear trains the head alone");
    }
  }

 private:
  struct KeepCandidate {
    int64_t bytes;
    KeepsDelta keeps;
  };

  bool matches(const LayerPattern& pattern, const std::string& name) const {
    if (!pattern.matches(name)) return false;
    matched_.insert(&pattern);
    return true;
  }
  bool matches_any(const std::vector<LayerPattern>& patterns, const std::string& name) const {
    bool found = false;
    for (const auto& pattern : patterns) found = matches(pattern, name) || found;
    return found;
  }
  // The last entry that matches wins.
  double sparsity_of(const std::string& name) const {
    double sparsity = config_.sparsity;
    for (const auto& entry : layer_sparsity_) {
      if (matches(entry.pattern, name)) sparsity = entry.sparsity;
    }
    return sparsity;
  }

  const AdapterConfig& config_;
  TunedModel& model_;
  std::vector<LayerPattern> targets_, excluded_;
  std::vector<LayerSparsity> layer_sparsity_;
  mutable std::set<const LayerPattern*> matched_;
  mutable std::vector<KeepCandidate> candidates_;
};

void select_trainable(const nn::Backbone& backbone, const AdapterConfig& config) {
  for (auto& [name, tensor] : backbone.published()) {
    const bool is_head = name.starts_with("head.");
    const bool is_tuned_token = name == "cls_token" && config.class_token;
    at::Tensor(tensor).requires_grad_(config.name == "full" || is_head || is_tuned_token);
  }
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
  b.field("sparsifier", c.sparsifier,
          "snell, snella: the published code's hard threshold (K·|K| where |K| > q_s), or the paper's soft one "
          "(K·max(|K| − q_s, 0))",
          config::one_of({"hard_threshold", "soft_threshold"}));
  b.field("layer_sparsity", c.layer_sparsity,
          "sparsity of chosen layers, pattern=value: [q=0.5, 'blocks\\.0\\..*=0.8']; the last match wins");
  b.field(
      "targets", c.targets,
      "projections that get an adapter: names (q, k, v, proj, fc1, fc2), ends of full names (attn.proj), or regular "
      "expressions over full names ('blocks\\.[0-5]\\..*')");
  b.field("exclude", c.exclude, "projections that get none, as in targets");
  b.field("class_token", c.class_token, "whether the class token trains");
  b.field("delta_cache", c.delta_cache,
          "what layers build out of their factors: recompute it in the backward pass (LoRA's memory), keep it from the "
          "forward pass on (LoRA's time, the adapted weights' memory once more), or auto: keep as much as "
          "delta_cache_mb allows",
          config::one_of({"recompute", "keep", "auto"}));
  b.field("delta_cache_mb", c.delta_cache_mb, "delta_cache=auto: MB a rank for what is kept",
          config::in_range(0, 1 << 24));
  b.section("allocator", c.allocator);
  b.require(c.allocator.metric == "none" || competes(c), "allocator.metric",
            core::str("adapter '", c.name, "' has no sparsity to share out (snell and snella have); use none"));
  b.require(!has_kernel(c) || c.rank % c.heads == 0, "rank", core::str("must be a multiple of heads (", c.heads, ")"));
}

TunedModel make_tuned_model(const nn::BackboneConfig& backbone, const AdapterConfig& adapter, int64_t num_classes,
                            uint64_t seed, const nn::TensorPlace& place, bool draw_published) {
  TunedModel model;
  if (has_adapter(adapter)) {
    const AdapterFactory factory(adapter, model);
    model.backbone = nn::make_backbone(backbone, num_classes, factory, place);
    factory.warn_of_unused();
    factory.choose_kept();
  } else {
    const bool full = adapter.name == "full";
    model.backbone =
        nn::make_backbone(backbone, num_classes, nn::LinearFactory(full),
                          {full ? place.trainable_dtype() : place.dtype, place.device, full ? nullptr : place.storage});
  }
  if (draw_published) model.backbone->init_published(seed);
  model.backbone->init_head(seed);
  for (auto& named : model.branches) named.branch->init(seed);
  select_trainable(*model.backbone, adapter);
  return model;
}

}  // namespace snell::peft
