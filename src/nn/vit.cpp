// Legend: B batch, C H W image, P patch side, N tokens, D features, E features of a head, M hidden features of the MLP.
#include "snell/nn/vit.h"

#include <cmath>

#include "snell/nn/init.h"

namespace snell::nn {

// A block numbers its four projection groups and two drop-path sites within the backbone.
VitBlock::VitBlock(const BackboneConfig& c, int64_t index, const ProjectionFactory& factory, const TensorPlace& place)
    : path_("blocks." + std::to_string(index)),
      index_(index),
      num_heads_(c.num_heads),
      drop_path_(drop_path_rate(c.drop_path, index, c.depth)),
      norm1_(c.embed_dim, c.layer_norm_eps, place),
      norm2_(c.embed_dim, c.layer_norm_eps, place) {
  const auto hidden = static_cast<int64_t>(std::llround(static_cast<double>(c.embed_dim) * c.mlp_ratio));
  const auto layer = static_cast<uint32_t>(4 * index);
  const int64_t d = c.embed_dim;
  qkv_ =
      factory.make(projection_spec(path_ + ".attn", "qkv", d, 3 * d, c.qkv_bias, layer, true, {"q", "k", "v"}), place);
  proj_ = factory.make(projection_spec(path_ + ".attn", "proj", d, d, true, layer + 1, false, {"proj"}), place);
  fc1_ = factory.make(projection_spec(path_ + ".mlp", "fc1", d, hidden, true, layer + 2, true, {"fc1"}), place);
  fc2_ = factory.make(projection_spec(path_ + ".mlp", "fc2", hidden, d, true, layer + 3, true, {"fc2"}), place);
}

at::Tensor VitBlock::attention(const at::Tensor& x_BND, const core::StepContext& context) const {
  const int64_t batch = x_BND.size(0), tokens = x_BND.size(1), features = x_BND.size(2);
  const at::Tensor qkv_3BHNE = qkv_->forward(x_BND, context)
                                   .view({batch, tokens, 3, num_heads_, features / num_heads_})
                                   .permute({2, 0, 3, 1, 4});
  const at::Tensor out_BHNE = at::scaled_dot_product_attention(qkv_3BHNE[0], qkv_3BHNE[1], qkv_3BHNE[2]);
  return proj_->forward(out_BHNE.transpose(1, 2).reshape({batch, tokens, features}), context);
}

at::Tensor VitBlock::forward(const at::Tensor& x_BND, const core::StepContext& context) const {
  const auto site = static_cast<uint32_t>(2 * index_);
  const at::Tensor mid_BND = x_BND + drop_path(attention(norm1_(x_BND), context), drop_path_, context, site);
  const at::Tensor hidden_BNM = at::gelu(fc1_->forward(norm2_(mid_BND), context));
  return mid_BND + drop_path(fc2_->forward(hidden_BNM, context), drop_path_, context, site + 1);
}

void VitBlock::append_published(Parameters& out) const {
  norm1_.append_to(out, path_ + ".norm1");
  append(out, qkv_->published());
  append(out, proj_->published());
  norm2_.append_to(out, path_ + ".norm2");
  append(out, fc1_->published());
  append(out, fc2_->published());
}

void VitBlock::append_adapters(Parameters& out) const {
  for (const auto* group : {&qkv_, &proj_, &fc1_, &fc2_}) append(out, (*group)->adapters());
}

Vit::Vit(const BackboneConfig& c, int64_t num_classes, const ProjectionFactory& factory, const TensorPlace& place)
    : Backbone("head"), config_(c), norm_(c.embed_dim, c.layer_norm_eps, place) {
  const int64_t side = c.image_size / c.patch_size;
  patch_weight_ = at::zeros({c.embed_dim, c.in_chans, c.patch_size, c.patch_size}, place.options());
  patch_bias_ = at::zeros({c.embed_dim}, place.options());
  cls_token_ = at::zeros({1, 1, c.embed_dim}, place.options());
  pos_embed_ = at::zeros({1, 1 + side * side, c.embed_dim}, place.options());
  blocks_.reserve(static_cast<size_t>(c.depth));
  for (int64_t i = 0; i < c.depth; ++i) blocks_.emplace_back(c, i, factory, place);
  make_head(c.embed_dim, num_classes, place);
}

at::Tensor Vit::forward_features(const at::Tensor& images_BCHW, const core::StepContext& context) const {
  check_images(images_BCHW, config_.in_chans, config_.image_size);
  const at::Tensor patches_BND =
      at::conv2d(images_BCHW, patch_weight_, patch_bias_, config_.patch_size).flatten(2).transpose(1, 2);
  at::Tensor x_BND = at::cat({cls_token_.expand({images_BCHW.size(0), -1, -1}), patches_BND}, 1) + pos_embed_;
  for (const auto& block : blocks_) x_BND = block.forward(x_BND, context);
  if (config_.global_pool == "avg") return norm_(x_BND.slice(1, 1).mean(1));
  return norm_(x_BND.select(1, 0));  // the other tokens' norms are never looked at
}

Parameters Vit::published() const {
  Parameters out{{"cls_token", cls_token_},
                 {"pos_embed", pos_embed_},
                 {"patch_embed.proj.weight", patch_weight_},
                 {"patch_embed.proj.bias", patch_bias_}};
  for (const auto& block : blocks_) block.append_published(out);
  norm_.append_to(out, config_.global_pool == "avg" ? "fc_norm" : "norm");
  append_head(out);
  return out;
}

Parameters Vit::adapters() const {
  Parameters out;
  for (const auto& block : blocks_) block.append_adapters(out);
  return out;
}

// timm's init_weights: matrices and the position embedding normal(0, 0.02), the class token normal(0, 1e-6), biases
// zero, norms one and zero, and the patch convolution as PyTorch's Conv2d (uniform within 1/sqrt(fan_in)).
void Vit::init_published(uint64_t seed) {
  const double patch_bound = 1.0 / std::sqrt(static_cast<double>(patch_weight_[0].numel()));
  for (auto& [name, tensor] : published()) {
    at::Tensor target = tensor.detach();
    if (name.starts_with("patch_embed")) {
      init_uniform(target, patch_bound, seed, name);
    } else if (name == "cls_token") {
      init_normal(target, 1e-6, seed, name);
    } else {
      init_as_timm(target, seed, name);
    }
  }
}

}  // namespace snell::nn
