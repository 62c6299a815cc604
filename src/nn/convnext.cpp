// Legend: B batch, C H W an image or feature map.
#include "snell/nn/convnext.h"

#include <numeric>

#include "snell/nn/init.h"

namespace snell::nn {
namespace {

constexpr int64_t kDepthwiseSide = 7;
constexpr double kLayerScale = 1e-6;  // where training from scratch starts

at::Tensor channels_last(const at::Tensor& x_BCHW) {
  return x_BCHW.permute({0, 2, 3, 1});
}
at::Tensor channels_first(const at::Tensor& x_BHWC) {
  return x_BHWC.permute({0, 3, 1, 2});
}

}  // namespace

ConvNextBlock::ConvNextBlock(const BackboneConfig& c, const std::string& path, int64_t features, int64_t index,
                             double drop_path, const ProjectionFactory& factory, const TensorPlace& place)
    : path_(path),
      index_(index),
      drop_path_(drop_path),
      depthwise_(features, 1, kDepthwiseSide, place),
      norm_(features, c.layer_norm_eps, place),
      gamma_C_(at::ones({features}, place.options())) {
  const int64_t hidden = mlp_features(features, c);
  const auto layer = static_cast<uint32_t>(2 * index);
  fc1_ = factory.make(projection_spec(path + ".mlp", "fc1", features, hidden, true, layer, true, {"fc1"}), place);
  fc2_ = factory.make(projection_spec(path + ".mlp", "fc2", hidden, features, true, layer + 1, true, {"fc2"}), place);
}

at::Tensor ConvNextBlock::forward(const at::Tensor& x_BCHW, const core::StepContext& context) const {
  const at::Tensor mixed_BCHW = depthwise_(x_BCHW, 1, kDepthwiseSide / 2, x_BCHW.size(1));
  const at::Tensor hidden = fc1_->forward(channels_last(mixed_BCHW), context, norm_.as_prologue());
  const at::Tensor out_BHWC = fc2_->forward(hidden, context, Prologue::gelu()) * in_type_of(hidden, gamma_C_);
  return x_BCHW + drop_path(channels_first(out_BHWC), drop_path_, context, static_cast<uint32_t>(index_));
}

void ConvNextBlock::append_published(Parameters& out) const {
  out.push_back({path_ + ".gamma", gamma_C_});
  depthwise_.append_to(out, path_ + ".conv_dw");
  norm_.append_to(out, path_ + ".norm");
  append(out, fc1_->published());
  append(out, fc2_->published());
}

void ConvNextBlock::append_adapters(Parameters& out) const {
  append(out, fc1_->adapters());
  append(out, fc2_->adapters());
}

ConvNext::ConvNext(const BackboneConfig& c, int64_t num_classes, const ProjectionFactory& factory,
                   const TensorPlace& place)
    : Backbone("head.fc"),
      config_(c),
      stem_(c.dims.at(0), c.in_chans, c.patch_size, place),
      stem_norm_(c.dims.at(0), c.layer_norm_eps, place),
      head_norm_(c.dims.back(), c.layer_norm_eps, {place.trainable_dtype(), place.device}) {
  const int64_t depth = std::accumulate(c.depths.begin(), c.depths.end(), int64_t{0});
  int64_t index = 0;
  for (size_t s = 0; s < c.dims.size(); ++s) {
    Stage& stage = stages_.emplace_back();
    if (s > 0) {
      const LayerNorm norm(c.dims[s - 1], c.layer_norm_eps, place);
      stage.downsample.emplace(Downsample{norm, Conv(c.dims[s], c.dims[s - 1], 2, place), c.unbiased_norm});
    }
    for (int64_t i = 0; i < c.depths[s]; ++i, ++index) {
      stage.blocks.emplace_back(c, core::str("stages.", s, ".blocks.", i), c.dims[s], index,
                                drop_path_rate(c.drop_path, index, depth), factory, place);
    }
  }
  make_head(c.dims.back(), num_classes, place);
}

at::Tensor ConvNext::Downsample::operator()(const at::Tensor& x_BCHW) const {
  at::Tensor x_BHWC = channels_last(x_BCHW);
  if (unbiased) {
    // timm's LayerNorm2d of the time took torch.var_mean's default for maps that are not contiguous. At least float32,
    // as at::layer_norm has it inside.
    const at::Tensor wide = x_BHWC.to(at::promote_types(x_BHWC.scalar_type(), at::kFloat));
    const auto [variance, mean] = at::var_mean(wide, 3, true, true);
    x_BHWC = ((wide - mean) * at::rsqrt(variance + norm.eps) * norm.weight_D + norm.bias_D).to(x_BHWC.scalar_type());
  } else {
    x_BHWC = norm(x_BHWC);
  }
  return conv(channels_first(x_BHWC), 2);
}

at::Tensor ConvNext::forward_features(const at::Tensor& images_BCHW, const core::StepContext& context) const {
  check_images(images_BCHW, config_.in_chans, config_.image_size);
  at::Tensor x = stem_(images_BCHW, config_.patch_size);
  x = channels_first(stem_norm_(channels_last(x)));
  for (const auto& stage : stages_) {
    if (stage.downsample) x = (*stage.downsample)(x);
    for (const auto& block : stage.blocks) x = run_block(block, x, context, config_.checkpoint_blocks);
  }
  return head_norm_(x.mean({2, 3}));
}

Parameters ConvNext::published() const {
  Parameters out;
  stem_.append_to(out, "stem.0");
  stem_norm_.append_to(out, "stem.1");
  for (size_t s = 0; s < stages_.size(); ++s) {
    if (const auto& down = stages_[s].downsample) {
      down->norm.append_to(out, core::str("stages.", s, ".downsample.0"));
      down->conv.append_to(out, core::str("stages.", s, ".downsample.1"));
    }
    for (const auto& block : stages_[s].blocks) block.append_published(out);
  }
  head_norm_.append_to(out, "head.norm");
  append_head(out);
  return out;
}

Parameters ConvNext::adapters() const {
  Parameters out;
  for (const auto& stage : stages_) {
    for (const auto& block : stage.blocks) block.append_adapters(out);
  }
  return out;
}

void ConvNext::init_tensor(const std::string& name, at::Tensor& tensor, uint64_t seed) const {
  if (name.ends_with(".gamma")) {
    tensor.fill_(kLayerScale);
  } else {
    init_as_timm(tensor, seed, name);
  }
}

}  // namespace snell::nn
