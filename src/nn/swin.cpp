// Legend: B batch, C features, H W map, V windows of a map, N tokens of a window, E features of a head, S window's
// side.
#include "snell/nn/swin.h"

#include <numeric>

#include "snell/nn/attention.h"
#include "snell/nn/init.h"

namespace snell::nn {
namespace {

Windows windows_of(const SwinBlock::Shape& shape, int64_t window_size) {
  if (shape.map_side <= window_size) return {shape.map_side, shape.map_side, shape.map_side, 0};
  return {shape.map_side, shape.map_side, window_size, shape.shifted ? window_size / 2 : 0};
}

int64_t features_of(const BackboneConfig& c, size_t stage) {
  return c.embed_dim << stage;
}

}  // namespace

// A block numbers its four projection groups and two drop-path sites within the backbone, as a ViT's does.
SwinBlock::SwinBlock(const BackboneConfig& c, const std::string& path, const Shape& shape,
                     const ProjectionFactory& factory, const TensorPlace& place)
    : path_(path),
      shape_(shape),
      windows_(windows_of(shape, c.window_size)),
      norm1_(shape.features, c.layer_norm_eps, place),
      norm2_(shape.features, c.layer_norm_eps, place) {
  const int64_t differences = 2 * windows_.side - 1;
  bias_table_ = at::zeros({differences * differences, shape.num_heads}, place.options());
  bias_index_ = relative_position_index(windows_.side, place.device);
  mask_VNN_ = shift_mask(windows_, place.options());
  const int64_t d = shape.features;
  const int64_t hidden = mlp_features(d, c);
  const auto layer = static_cast<uint32_t>(4 * shape.index);
  qkv_ =
      factory.make(projection_spec(path + ".attn", "qkv", d, 3 * d, c.qkv_bias, layer, true, {"q", "k", "v"}), place);
  proj_ = factory.make(projection_spec(path + ".attn", "proj", d, d, true, layer + 1, false, {"proj"}), place);
  fc1_ = factory.make(projection_spec(path + ".mlp", "fc1", d, hidden, true, layer + 2, true, {"fc1"}), place);
  fc2_ = factory.make(projection_spec(path + ".mlp", "fc2", hidden, d, true, layer + 3, true, {"fc2"}), place);
}

at::Tensor SwinBlock::score_bias(int64_t batch) const {
  const int64_t tokens = windows_.side * windows_.side;
  const at::Tensor bias_HNN =
      bias_table_.index_select(0, bias_index_).view({tokens, tokens, shape_.num_heads}).permute({2, 0, 1});
  if (!mask_VNN_.defined()) return bias_HNN.unsqueeze(0);
  const at::Tensor bias_VHNN = bias_HNN + mask_VNN_.unsqueeze(1);
  return bias_VHNN.expand({batch, -1, -1, -1, -1}).flatten(0, 1);
}

// The projections see [B, V, N, C], so that their random draws stay keyed by the sample.
at::Tensor SwinBlock::attention(const at::Tensor& x_BVNC, const core::StepContext& context) const {
  const int64_t windows = x_BVNC.size(0) * x_BVNC.size(1), tokens = x_BVNC.size(2), features = x_BVNC.size(3);
  const at::Tensor qkv = qkv_->forward(x_BVNC, context)
                             .view({windows, tokens, 3, shape_.num_heads, features / shape_.num_heads})
                             .permute({2, 0, 3, 1, 4});
  const at::Tensor out = nn::attention(qkv[0], qkv[1], qkv[2], in_type_of(qkv, score_bias(x_BVNC.size(0))));
  return proj_->forward(out.transpose(1, 2).reshape(x_BVNC.sizes()), context);
}

at::Tensor SwinBlock::forward(const at::Tensor& x_BHWC, const core::StepContext& context) const {
  const auto site = static_cast<uint32_t>(2 * shape_.index);
  const at::Tensor attended_BVNC = attention(to_windows(norm1_(x_BHWC), windows_), context);
  const at::Tensor mid_BHWC =
      x_BHWC + drop_path(from_windows(attended_BVNC, windows_), shape_.drop_path, context, site);
  const at::Tensor hidden = fc1_->forward(mid_BHWC, context, norm2_.as_prologue());
  return mid_BHWC + drop_path(fc2_->forward(hidden, context, Prologue::gelu()), shape_.drop_path, context, site + 1);
}

void SwinBlock::append_published(Parameters& out) const {
  norm1_.append_to(out, path_ + ".norm1");
  out.push_back({path_ + ".attn.relative_position_bias_table", bias_table_});
  append(out, qkv_->published());
  append(out, proj_->published());
  norm2_.append_to(out, path_ + ".norm2");
  append(out, fc1_->published());
  append(out, fc2_->published());
}

void SwinBlock::append_adapters(Parameters& out) const {
  for (const auto* group : {&qkv_, &proj_, &fc1_, &fc2_}) append(out, (*group)->adapters());
}

Swin::Swin(const BackboneConfig& c, int64_t num_classes, const ProjectionFactory& factory, const TensorPlace& place)
    : Backbone("head.fc"),
      config_(c),
      patch_(c.embed_dim, c.in_chans, c.patch_size, place),
      patch_norm_(c.embed_dim, c.layer_norm_eps, place),
      norm_(features_of(c, c.depths.size() - 1), c.layer_norm_eps, place) {
  const int64_t depth = std::accumulate(c.depths.begin(), c.depths.end(), int64_t{0});
  int64_t map_side = c.image_size / c.patch_size, index = 0;
  for (size_t s = 0; s < c.depths.size(); ++s) {
    const std::string path = core::str("layers.", s);
    const int64_t features = features_of(c, s);
    Stage& stage = stages_.emplace_back();
    if (s > 0) {
      map_side = (map_side + 1) / 2;
      const auto layer = static_cast<uint32_t>(4 * depth + static_cast<int64_t>(s));  // behind the blocks' numbers
      stage.merging = std::make_unique<Merging>(
          Merging{LayerNorm(2 * features, c.layer_norm_eps, place),
                  factory.make(projection_spec(path + ".downsample", "reduction", 2 * features, features, false, layer,
                                               true, {"reduction"}),
                               place)});
    }
    for (int64_t i = 0; i < c.depths[s]; ++i, ++index) {
      const SwinBlock::Shape shape{
          features, c.num_heads << s, map_side, index, drop_path_rate(c.drop_path, index, depth), i % 2 == 1};
      stage.blocks.emplace_back(c, core::str(path, ".blocks.", i), shape, factory, place);
    }
  }
  make_head(features_of(c, c.depths.size() - 1), num_classes, place);
}

at::Tensor Swin::Merging::forward(const at::Tensor& x_BHWC, const core::StepContext& context) const {
  const int64_t batch = x_BHWC.size(0), features = x_BHWC.size(3), odd = x_BHWC.size(1) % 2;
  const at::Tensor even = odd == 1 ? at::constant_pad_nd(x_BHWC, {0, 0, 0, 1, 0, 1}) : x_BHWC;
  const int64_t side = even.size(1) / 2;
  // timm's order of the four neighbours: column by column.
  const at::Tensor merged = even.reshape({batch, side, 2, side, 2, features}).permute({0, 1, 3, 4, 2, 5}).flatten(3);
  return reduction->forward(merged, context, norm.as_prologue());
}

at::Tensor Swin::forward_features(const at::Tensor& images_BCHW, const core::StepContext& context) const {
  check_images(images_BCHW, config_.in_chans, config_.image_size);
  at::Tensor x_BHWC = patch_norm_(patch_(images_BCHW, config_.patch_size).permute({0, 2, 3, 1}));
  for (const auto& stage : stages_) {
    if (stage.merging) x_BHWC = stage.merging->forward(x_BHWC, context);
    for (const auto& block : stage.blocks) x_BHWC = run_block(block, x_BHWC, context, config_.checkpoint_blocks);
  }
  return norm_(x_BHWC).mean({1, 2});
}

Parameters Swin::published() const {
  Parameters out;
  patch_.append_to(out, "patch_embed.proj");
  patch_norm_.append_to(out, "patch_embed.norm");
  for (size_t s = 0; s < stages_.size(); ++s) {
    if (const auto& merging = stages_[s].merging) {
      merging->norm.append_to(out, core::str("layers.", s, ".downsample.norm"));
      append(out, merging->reduction->published());
    }
    for (const auto& block : stages_[s].blocks) block.append_published(out);
  }
  norm_.append_to(out, "norm");
  append_head(out);
  return out;
}

Parameters Swin::adapters() const {
  Parameters out;
  for (const auto& stage : stages_) {
    if (stage.merging) append(out, stage.merging->reduction->adapters());
    for (const auto& block : stage.blocks) block.append_adapters(out);
  }
  return out;
}

void Swin::init_tensor(const std::string& name, at::Tensor& tensor, uint64_t seed) const {
  if (name.starts_with("patch_embed.proj")) {
    init_uniform(tensor, patch_.default_bound(), seed, name);
  } else {
    init_as_timm(tensor, seed, name);
  }
}

}  // namespace snell::nn
