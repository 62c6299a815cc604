#include "snell/nn/backbone.h"

#include <cmath>

#include "snell/nn/convnext.h"
#include "snell/nn/init.h"
#include "snell/nn/swin.h"
#include "snell/nn/vit.h"

namespace snell::nn {

void bind(config::Binder& b, BackboneConfig& c) {
  b.field("name", c.name, "architecture", config::one_of(backbones().names()));
  b.field("weights", c.weights,
          "file of published weights (.safetensors, .pth, .npz), see docs/weights.md; empty: generated from the seed");
  b.field("load_head", c.load_head, "whether the head comes from `weights`, too; else it is new");
  b.field("allow_missing", c.allow_missing, "tensors that `weights` may lack, as names or patterns: [norm.*]");
  b.field("allow_unexpected", c.allow_unexpected, "tensors in `weights` that the backbone may have no place for");
  b.field("image_size", c.image_size, "height and width of the input in pixels", config::in_range(1, 4096));
  b.field("patch_size", c.patch_size, "height and width of a patch in pixels", config::in_range(1, 4096));
  b.field("in_chans", c.in_chans, "channels of the input", config::in_range(1, 64));
  b.field("embed_dim", c.embed_dim, "features of a token; swin: of the first stage, doubled in each",
          config::in_range(1, 65536));
  b.field("depth", c.depth, "number of blocks", config::in_range(1, 1024));
  b.field("num_heads", c.num_heads, "attention heads; swin: of the first stage, doubled in each",
          config::in_range(1, 1024));
  b.field("mlp_ratio", c.mlp_ratio, "hidden features of the MLP over embed_dim", config::in_range(0.01, 64));
  b.field("qkv_bias", c.qkv_bias, "whether q, k and v have a bias");
  b.field("layer_norm_eps", c.layer_norm_eps, "epsilon of the layer norms", config::positive());
  b.field("global_pool", c.global_pool, "what the head sees", config::one_of({"token", "avg"}));
  b.field("drop_path", c.drop_path, "rate of the last block's drop path; earlier ones rise to it linearly",
          config::in_range(0, 0.99));
  b.field("checkpoint_blocks", c.checkpoint_blocks,
          "whether blocks keep only their input and are run once more in the backward pass: least memory, a third more "
          "time");
  b.field("frozen_storage", c.frozen_storage,
          "how projection weights that do not train are kept: plain (in run.dtype), bfloat16, int8 (a scale an output "
          "feature), or mapped: used where they stand in `weights`, a safetensors file with timm's names in run.dtype",
          config::one_of({"plain", "bfloat16", "int8", "mapped"}));
  b.field("class_token", c.class_token, "vit: whether a class token stands before the patches");
  b.field("reg_tokens", c.reg_tokens, "vit: register tokens between class token and patches",
          config::in_range(0, 1024));
  b.field("no_embed_class", c.no_embed_class, "vit: whether class and register tokens have no position embedding");
  b.field("init_values", c.init_values, "vit: start value of the layer scales; 0: there are none",
          config::in_range(0, 100));
  b.field("mlp", c.mlp, "vit: gelu, or swiglu, whose fc1 yields a gate and as many gated features",
          config::one_of({"gelu", "swiglu"}));
  b.field("representation_size", c.representation_size,
          "vit: features of a layer with tanh before the head (pre_logits); 0: there is none",
          config::in_range(0, 65536));
  b.field("depths", c.depths, "convnext, swin: blocks of each stage", config::in_range(1, 1024));
  b.field("dims", c.dims, "convnext: features of each stage", config::in_range(1, 65536));
  b.field(
      "unbiased_norm", c.unbiased_norm,
      "convnext: whether the norms before downsampling divide the variance by C - 1, as the published SNELL code does; "
      "ConvNeXt's authors and timm divide by C");
  b.field("window_size", c.window_size,
          "swin: height and width of an attention window in patches; a smaller map is one window",
          config::in_range(1, 1024));
  b.require(c.frozen_storage != "mapped" || !c.weights.empty(), "weights",
            "must name a safetensors file where frozen_storage=mapped");
  b.require(c.name != "swin" || (!c.depths.empty() && c.depths.size() <= 8), "depths",
            "depths needs one number a stage, 1 to 8 stages");
  b.require(c.name != "convnext" || (!c.depths.empty() && c.depths.size() == c.dims.size() && c.dims.size() <= 8),
            "depths", "depths and dims need one number a stage, 1 to 8 stages");
  b.require(c.name != "convnext" || c.image_size / c.patch_size >= int64_t{1} << (c.dims.size() - 1), "image_size",
            core::str("each stage but the first halves the map: at least ",
                      c.patch_size << (c.dims.empty() ? 0 : c.dims.size() - 1), " pixels are needed"));
  b.require(c.mlp != "swiglu" || mlp_features(c.embed_dim, c) % 2 == 0, "mlp_ratio",
            core::str("must give swiglu an even number of features, not ", mlp_features(c.embed_dim, c)));
  b.require(c.class_token || c.global_pool != "token", "global_pool", "must be avg where class_token=false");
  const int64_t below = c.image_size / c.patch_size * c.patch_size;
  b.require(c.image_size % c.patch_size == 0, "image_size",
            core::str("must be a multiple of patch_size (", c.patch_size, "); ",
                      below > 0 ? core::str(below, " or ") : "", below + c.patch_size, " would do"));
  b.require(c.embed_dim % c.num_heads == 0, "num_heads", core::str("must divide embed_dim (", c.embed_dim, ")"));
}

int64_t mlp_features(int64_t features, const BackboneConfig& config) {
  return std::llround(static_cast<double>(features) * config.mlp_ratio);
}

at::Tensor Backbone::forward(const at::Tensor& images_BCHW, const core::StepContext& context) const {
  return at::linear(in_type_of(head_weight_KD_, forward_features(images_BCHW, context)), head_weight_KD_, head_bias_K_);
}

Parameters Backbone::trainable() const {
  Parameters out;
  for (const Parameters& group : {published(), adapters()}) {
    for (const auto& parameter : group) {
      if (parameter.tensor.requires_grad()) out.push_back(parameter);
    }
  }
  return out;
}

void Backbone::init_published(uint64_t seed, const std::function<bool(const std::string&)>& wanted) {
  for (const auto& parameter : published()) {
    if (wanted && !wanted(parameter.name)) continue;
    if (storage_ == nullptr || storage_->find(parameter.name) == nullptr) {
      at::Tensor target = parameter.tensor.detach();
      init_tensor(parameter.name, target, seed);
    } else {
      const at::Device device = head_weight_KD_.is_meta() ? at::kMeta : at::kCPU;
      at::Tensor drawn = at::empty(parameter.tensor.sizes(), parameter.tensor.options().device(device));
      init_tensor(parameter.name, drawn, seed);
      set_value(parameter, drawn);
    }
  }
}

at::Tensor Backbone::value_of(const Parameter& parameter) const {
  const core::StoredWeight* stored = storage_ == nullptr ? nullptr : storage_->find(parameter.name);
  if (stored == nullptr) return parameter.tensor;
  at::Tensor copy = stored->acquire().clone();
  stored->release();
  return copy;
}

void Backbone::set_value(const Parameter& parameter, const at::Tensor& value) {
  const at::NoGradGuard no_grad;
  core::StoredWeight* stored = storage_ == nullptr ? nullptr : storage_->find(parameter.name);
  if (stored == nullptr) {
    at::Tensor(parameter.tensor).copy_(value);
  } else {
    stored->set(value);
  }
}

void Backbone::make_head(int64_t num_features, int64_t num_classes, const TensorPlace& place) {
  head_weight_KD_ = at::zeros({num_classes, num_features}, place.trainable_options());
  head_bias_K_ = at::zeros({num_classes}, place.trainable_options());
}

void Backbone::append_head(Parameters& out) const {
  out.push_back({head_name_ + ".weight", head_weight_KD_});
  out.push_back({head_name_ + ".bias", head_bias_K_});
}

void Backbone::check_images(const at::Tensor& images_BCHW, int64_t channels, int64_t size) {
  TORCH_CHECK(images_BCHW.dim() == 4 && images_BCHW.size(1) == channels && images_BCHW.size(2) == size &&
                  images_BCHW.size(3) == size,
              "this backbone takes images [B, ", channels, ", ", size, ", ", size, "], got ", images_BCHW.sizes());
}

void Backbone::init_head(uint64_t seed) {
  init_normal(head_weight_KD_, 0.02, seed, head_name_ + ".weight");
  at::NoGradGuard no_grad;
  head_bias_K_.zero_();
}

static core::Registry<BackboneFactory> all_backbones() {
  core::Registry<BackboneFactory> registry("backbone");
  registry.add("vit",
               [](const BackboneConfig& config, int64_t num_classes, const ProjectionFactory& factory,
                  const TensorPlace& place) { return std::make_unique<Vit>(config, num_classes, factory, place); });
  registry.add("convnext", [](const BackboneConfig& config, int64_t num_classes, const ProjectionFactory& factory,
                              const TensorPlace& place) {
    return std::make_unique<ConvNext>(config, num_classes, factory, place);
  });
  registry.add("swin",
               [](const BackboneConfig& config, int64_t num_classes, const ProjectionFactory& factory,
                  const TensorPlace& place) { return std::make_unique<Swin>(config, num_classes, factory, place); });
  return registry;
}

const core::Registry<BackboneFactory>& backbones() {
  static const core::Registry<BackboneFactory> registry = all_backbones();
  return registry;
}

std::unique_ptr<Backbone> make_backbone(const BackboneConfig& config, int64_t num_classes,
                                        const ProjectionFactory& factory, const TensorPlace& place) {
  auto backbone = backbones().get(config.name)(config, num_classes, factory, place);
  backbone->set_storage(place.storage);
  return backbone;
}

int64_t count_elements(const Parameters& parameters) {
  int64_t count = 0;
  for (const auto& parameter : parameters) count += parameter.tensor.numel();
  return count;
}

}  // namespace snell::nn
