// A vision backbone with a linear head, as single-device code: it knows neither ranks nor adapters.
// Legend: B batch, C H W image, N tokens, D features, K classes.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "snell/config/binder.h"
#include "snell/core/frozen_storage.h"
#include "snell/core/registry.h"
#include "snell/core/step_context.h"
#include "snell/nn/checkpoint.h"
#include "snell/nn/parameter.h"
#include "snell/nn/projection.h"

namespace snell::nn {

struct BackboneConfig {
  std::string name = "vit";
  std::string weights;  // file of published weights; empty: generated from the seed
  bool load_head = false;
  std::vector<std::string> allow_missing = {}, allow_unexpected = {};
  int64_t image_size = 224;
  int64_t patch_size = 16;
  int64_t in_chans = 3;
  int64_t embed_dim = 768;
  int64_t depth = 12;
  int64_t num_heads = 12;
  double mlp_ratio = 4.0;
  bool qkv_bias = true;
  double layer_norm_eps = 1e-6;
  std::string global_pool = "token";
  double drop_path = 0.1;
  bool checkpoint_blocks = false;
  std::string frozen_storage = "plain";
  // ViT only.
  bool class_token = true;
  int64_t reg_tokens = 0;
  bool no_embed_class = false;
  double init_values = 0;
  std::string mlp = "gelu";
  int64_t representation_size = 0;
  std::vector<int64_t> depths, dims;
  int64_t window_size = 7;
  bool unbiased_norm = false;
};

void bind(config::Binder& binder, BackboneConfig& config);

// What fc1 yields in a block of so many features.
int64_t mlp_features(int64_t features, const BackboneConfig& config);

class Backbone {
 public:
  // `head_name`: what the classifier's tensors begin with, "head" or "head.fc".
  explicit Backbone(std::string head_name) : head_name_(std::move(head_name)) {}
  virtual ~Backbone() = default;

  // images: [B, C, H, W] -> what the head sees, [B, D] (timm's forward_head(..., pre_logits=True)).
  virtual at::Tensor forward_features(const at::Tensor& images_BCHW, const core::StepContext& context) const = 0;
  // -> logits [B, K], in the head's type (float32 where the activations have 16 bits).
  at::Tensor forward(const at::Tensor& images_BCHW, const core::StepContext& context) const;

  // Every tensor that a weight file can fill, under timm's names, in a fixed order; the head's come last.
  virtual Parameters published() const = 0;
  // What the projection factory added, in a fixed order.
  virtual Parameters adapters() const = 0;
  // published() and adapters() that require gradients: the trainables, in the order of the forward pass.
  Parameters trainable() const;

  // Rows of pos_embed that stand before the patches' (class and register tokens).
  virtual int64_t pos_embed_prefix_tokens() const { return 0; }

  const std::string& head_name() const { return head_name_; }
  const at::Tensor& head_weight() const { return head_weight_KD_; }
  const at::Tensor& head_bias() const { return head_bias_K_; }

  // Published weights as timm draws them for a new model, one at a time; `wanted`, when given, chooses them by name. A
  // tensor's values depend on the seed and its name alone.
  void init_published(uint64_t seed, const std::function<bool(const std::string&)>& wanted = {});
  // The head's weight is normal(0, 0.02), its bias zero.
  void init_head(uint64_t seed);

  // What `parameter`, one of published() or adapters(), holds: the tensor itself, or a copy out of the storage (which
  // may have rounded it). Collective where the storage is.
  at::Tensor value_of(const Parameter& parameter) const;
  // Gives it the value, of any floating type on the CPU, and of equal shape.
  void set_value(const Parameter& parameter, const at::Tensor& value);
  // Where frozen projection weights are kept; null: plain tensors.
  core::FrozenStorage* storage() const { return storage_.get(); }
  void set_storage(std::shared_ptr<core::FrozenStorage> storage) { storage_ = std::move(storage); }

 protected:
  // Start values of the published tensor `name` into `tensor`.
  virtual void init_tensor(const std::string& name, at::Tensor& tensor, uint64_t seed) const = 0;
  // x through one block, whose activations are not kept where `checkpointed`.
  template <class Block>
  static at::Tensor run_block(const Block& block, const at::Tensor& x, const core::StepContext& context,
                              bool checkpointed) {
    if (!checkpointed) return block.forward(x, context);
    Parameters parameters;
    block.append_published(parameters);
    block.append_adapters(parameters);
    return checkpoint([&block, context](const at::Tensor& input) { return block.forward(input, context); }, x,
                      parameters);
  }
  void make_head(int64_t num_features, int64_t num_classes, const TensorPlace& place);
  void append_head(Parameters& out) const;
  // Throws where the images are not [B, channels, size, size].
  static void check_images(const at::Tensor& images_BCHW, int64_t channels, int64_t size);
  at::Tensor head_weight_KD_, head_bias_K_;

 private:
  std::string head_name_;
  std::shared_ptr<core::FrozenStorage> storage_;
};

using BackboneFactory = std::function<std::unique_ptr<Backbone>(const BackboneConfig&, int64_t num_classes,
                                                                const ProjectionFactory&, const TensorPlace&)>;
// All backbones of the project, by BackboneConfig::name.
const core::Registry<BackboneFactory>& backbones();

std::unique_ptr<Backbone> make_backbone(const BackboneConfig& config, int64_t num_classes,
                                        const ProjectionFactory& factory, const TensorPlace& place);

// Number of elements of all of them.
int64_t count_elements(const Parameters& parameters);

}  // namespace snell::nn
