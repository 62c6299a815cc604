// Legend: B batch, C H W image, P patch side, N tokens, D features, E features of a head, M hidden features of the MLP.
#include "snell/nn/vit.h"

#include "snell/nn/attention.h"
#include "snell/nn/init.h"

namespace snell::nn {

// A block numbers its four projection groups and two drop-path sites within the backbone.
VitBlock::VitBlock(const BackboneConfig& c, int64_t index, const ProjectionFactory& factory, const TensorPlace& place)
    : path_("blocks." + std::to_string(index)),
      index_(index),
      num_heads_(c.num_heads),
      drop_path_(drop_path_rate(c.drop_path, index, c.depth)),
      swiglu_(c.mlp == "swiglu"),
      norm1_(c.embed_dim, c.layer_norm_eps, place),
      norm2_(c.embed_dim, c.layer_norm_eps, place) {
  const int64_t hidden = mlp_features(c.embed_dim, c);
  const auto layer = static_cast<uint32_t>(4 * index);
  const int64_t d = c.embed_dim;
  qkv_ =
      factory.make(projection_spec(path_ + ".attn", "qkv", d, 3 * d, c.qkv_bias, layer, true, {"q", "k", "v"}), place);
  proj_ = factory.make(projection_spec(path_ + ".attn", "proj", d, d, true, layer + 1, false, {"proj"}), place);
  fc1_ = factory.make(projection_spec(path_ + ".mlp", "fc1", d, hidden, true, layer + 2, true, {"fc1"}), place);
  fc2_ = factory.make(
      projection_spec(path_ + ".mlp", "fc2", swiglu_ ? hidden / 2 : hidden, d, true, layer + 3, true, {"fc2"}), place);
  if (c.init_values == 0) return;
  scale1_D_ = at::full({d}, c.init_values, place.options());
  scale2_D_ = at::full({d}, c.init_values, place.options());
}

at::Tensor VitBlock::attention(const at::Tensor& x_BND, const core::StepContext& context) const {
  const int64_t batch = x_BND.size(0), tokens = x_BND.size(1), features = x_BND.size(2);
  const at::Tensor qkv_3BHNE = qkv_->forward(x_BND, context, norm1_.as_prologue())
                                   .view({batch, tokens, 3, num_heads_, features / num_heads_})
                                   .permute({2, 0, 3, 1, 4});
  const at::Tensor out_BHNE = nn::attention(qkv_3BHNE[0], qkv_3BHNE[1], qkv_3BHNE[2]);
  return proj_->forward(out_BHNE.transpose(1, 2).reshape({batch, tokens, features}), context);
}

at::Tensor VitBlock::mlp(const at::Tensor& x_BND, const core::StepContext& context) const {
  const at::Tensor hidden_BNM = fc1_->forward(x_BND, context, norm2_.as_prologue());
  if (!swiglu_) return fc2_->forward(hidden_BNM, context, Prologue::gelu());
  const auto halves = hidden_BNM.chunk(2, -1);
  return fc2_->forward(at::silu(halves[0]) * halves[1], context);
}

at::Tensor VitBlock::forward(const at::Tensor& x_BND, const core::StepContext& context) const {
  const auto site = static_cast<uint32_t>(2 * index_);
  const auto scaled = [](const at::Tensor& y_BND, const at::Tensor& scale_D) {
    return scale_D.defined() ? y_BND * in_type_of(y_BND, scale_D) : y_BND;
  };
  const at::Tensor mid_BND = x_BND + drop_path(scaled(attention(x_BND, context), scale1_D_), drop_path_, context, site);
  return mid_BND + drop_path(scaled(mlp(mid_BND, context), scale2_D_), drop_path_, context, site + 1);
}

void VitBlock::append_published(Parameters& out) const {
  norm1_.append_to(out, path_ + ".norm1");
  append(out, qkv_->published());
  append(out, proj_->published());
  if (scale1_D_.defined()) out.push_back({path_ + ".ls1.gamma", scale1_D_});
  norm2_.append_to(out, path_ + ".norm2");
  append(out, fc1_->published());
  append(out, fc2_->published());
  if (scale2_D_.defined()) out.push_back({path_ + ".ls2.gamma", scale2_D_});
}

void VitBlock::append_adapters(Parameters& out) const {
  for (const auto* group : {&qkv_, &proj_, &fc1_, &fc2_}) append(out, (*group)->adapters());
}

Vit::Vit(const BackboneConfig& c, int64_t num_classes, const ProjectionFactory& factory, const TensorPlace& place)
    : Backbone("head"),
      config_(c),
      patch_(c.embed_dim, c.in_chans, c.patch_size, place),
      norm_(c.embed_dim, c.layer_norm_eps, place) {
  const int64_t side = c.image_size / c.patch_size;
  if (c.class_token) cls_token_ = at::zeros({1, 1, c.embed_dim}, place.trainable_options());  // adapters may train it
  if (c.reg_tokens > 0) reg_token_ = at::zeros({1, c.reg_tokens, c.embed_dim}, place.options());
  pos_embed_ = at::zeros({1, pos_embed_prefix_tokens() + side * side, c.embed_dim}, place.options());
  blocks_.reserve(static_cast<size_t>(c.depth));
  for (int64_t i = 0; i < c.depth; ++i) blocks_.emplace_back(c, i, factory, place);
  if (c.representation_size > 0) {
    pre_logits_weight_ = at::zeros({c.representation_size, c.embed_dim}, place.options());
    pre_logits_bias_ = at::zeros({c.representation_size}, place.options());
  }
  make_head(c.representation_size > 0 ? c.representation_size : c.embed_dim, num_classes, place);
}

at::Tensor Vit::embed(const at::Tensor& images_BCHW) const {
  const int64_t batch = images_BCHW.size(0);
  at::Tensor patches_BND = patch_(images_BCHW, config_.patch_size).flatten(2).transpose(1, 2);
  const at::Tensor pos_embed = in_type_of(patches_BND, pos_embed_);
  if (config_.no_embed_class) patches_BND = patches_BND + pos_embed;
  std::vector<at::Tensor> tokens;
  for (const auto* prefix : {&cls_token_, &reg_token_}) {
    if (prefix->defined()) tokens.push_back(in_type_of(patches_BND, *prefix).expand({batch, -1, -1}));
  }
  tokens.push_back(patches_BND);
  const at::Tensor x_BND = at::cat(tokens, 1);
  return config_.no_embed_class ? x_BND : x_BND + pos_embed;
}

at::Tensor Vit::forward_features(const at::Tensor& images_BCHW, const core::StepContext& context) const {
  check_images(images_BCHW, config_.in_chans, config_.image_size);
  at::Tensor x_BND = embed(images_BCHW);
  for (const auto& block : blocks_) x_BND = run_block(block, x_BND, context, config_.checkpoint_blocks);
  // Of the class token's pooling: the other tokens' norms are never looked at.
  const at::Tensor pooled_BD =
      norm_(config_.global_pool == "avg" ? x_BND.slice(1, prefix_tokens()).mean(1) : x_BND.select(1, 0));
  if (!pre_logits_weight_.defined()) return pooled_BD;
  return at::tanh(
      at::linear(pooled_BD, in_type_of(pooled_BD, pre_logits_weight_), in_type_of(pooled_BD, pre_logits_bias_)));
}

Parameters Vit::published() const {
  Parameters out;
  for (const auto& [name, tensor] : {std::pair{"cls_token", &cls_token_}, std::pair{"reg_token", &reg_token_},
                                     std::pair{"pos_embed", &pos_embed_}}) {
    if (tensor->defined()) out.push_back({name, *tensor});
  }
  patch_.append_to(out, "patch_embed.proj");
  for (const auto& block : blocks_) block.append_published(out);
  norm_.append_to(out, config_.global_pool == "avg" ? "fc_norm" : "norm");
  if (pre_logits_weight_.defined()) {
    out.push_back({"pre_logits.fc.weight", pre_logits_weight_});
    out.push_back({"pre_logits.fc.bias", pre_logits_bias_});
  }
  append_head(out);
  return out;
}

Parameters Vit::adapters() const {
  Parameters out;
  for (const auto& block : blocks_) block.append_adapters(out);
  return out;
}

// timm's init_weights: matrices and the position embedding normal(0, 0.02), class and register tokens normal(0, 1e-6),
// biases zero, norms one and zero, and the patch convolution as PyTorch's Conv2d. SwiGLU's second half of fc1 starts
// near zero with a bias of one.
void Vit::init_tensor(const std::string& name, at::Tensor& tensor, uint64_t seed) const {
  if (name.starts_with("patch_embed")) {
    init_uniform(tensor, patch_.default_bound(), seed, name);
  } else if (name == "cls_token" || name == "reg_token") {
    init_normal(tensor, 1e-6, seed, name);
  } else if (name.ends_with(".gamma")) {
    tensor.fill_(config_.init_values);
  } else {
    init_as_timm(tensor, seed, name);
  }
  if (config_.mlp == "swiglu" && name.find(".fc1.") != std::string::npos) {
    at::Tensor second = tensor.chunk(2, 0)[1];
    name.ends_with(".bias") ? second.fill_(1) : second.mul_(1e-6 / 0.02);
  }
}

}  // namespace snell::nn
