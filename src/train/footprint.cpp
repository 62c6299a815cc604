#include "snell/train/footprint.h"

#include <algorithm>

#include "snell/nn/frozen_kinds.h"
#include "snell/peft/tuning.h"
#include "snell/train/optimizer.h"

namespace snell::train {
namespace {

// "blocks.0.attn.qkv.weight" belongs to blocks.0.attn.qkv, and "blocks.0.attn.additional_q.learnable.In_Qs" to
// blocks.0.attn.q.
std::string layer_of(std::string name) {
  const std::string added = "additional_";
  const size_t factor = name.find(".learnable."), prefix = name.find(added);
  if (factor == name.npos || prefix == name.npos) return name.substr(0, name.rfind('.'));
  return name.substr(0, factor).erase(prefix, added.size());
}

class Rows {
 public:
  LayerFootprint& of(const std::string& parameter) {
    const std::string layer = layer_of(parameter);
    const auto found = std::find_if(rows_.begin(), rows_.end(), [&](const auto& row) { return row.name == layer; });
    if (found != rows_.end()) return *found;
    return *rows_.insert(place_of(layer), {.name = layer});
  }
  std::vector<LayerFootprint> take() { return std::move(rows_); }

 private:
  // Behind the last row of the same parent; at the end when it has none.
  std::vector<LayerFootprint>::iterator place_of(const std::string& layer) {
    const size_t dot = layer.rfind('.');
    if (dot == layer.npos) return rows_.end();
    const std::string parent = layer.substr(0, dot + 1);
    const auto last =
        std::find_if(rows_.rbegin(), rows_.rend(), [&](const auto& r) { return r.name.starts_with(parent); });
    return last == rows_.rend() ? rows_.end() : last.base();
  }

  std::vector<LayerFootprint> rows_;
};

int64_t bytes_of(const at::Tensor& tensor) {
  return static_cast<int64_t>(tensor.nbytes());
}

}  // namespace

LayerFootprint& LayerFootprint::operator+=(const LayerFootprint& other) {
  frozen += other.frozen;
  trainable += other.trainable;
  adapter += other.adapter;
  weight_bytes += other.weight_bytes;
  gradient_bytes += other.gradient_bytes;
  state_bytes += other.state_bytes;
  return *this;
}

std::vector<LayerFootprint> footprint(const JobConfig& config, int64_t num_classes) {
  nn::TensorPlace place{compute_dtype(config.run), at::kMeta};
  place.storage = nn::make_frozen_kind(config.backbone, place);
  const auto model = peft::make_tuned_model(config.backbone, config.adapter, num_classes, config.seed, place);
  Rows rows;
  const auto count = [&](const nn::Parameters& parameters, bool adapter) {
    for (const auto& [name, tensor] : parameters) {
      LayerFootprint& row = rows.of(name);
      const bool trains = tensor.requires_grad();
      (trains ? row.trainable : row.frozen) += tensor.numel();
      row.adapter += adapter ? tensor.numel() : 0;
      const auto* stored = model.backbone->storage() == nullptr ? nullptr : model.backbone->storage()->find(name);
      row.weight_bytes += stored == nullptr ? bytes_of(tensor) : stored->resident_bytes();
      row.gradient_bytes += trains ? bytes_of(tensor) : 0;
      row.state_bytes += trains && config.optim.ema.enabled ? bytes_of(tensor) : 0;
    }
  };
  count(model.backbone->published(), false);
  count(model.backbone->adapters(), true);
  const auto count_state = [&](const std::string& name, const at::Tensor& tensor) {
    rows.of(name.substr(name.rfind('/') + 1)).state_bytes += bytes_of(tensor);
  };
  for (const auto& [name, tensor] : Optimizer(model.backbone->trainable(), config.optim).state()) {
    count_state(name, tensor);
  }
  const auto& allocator = config.adapter.allocator;
  if (allocator.metric != "none") {
    const peft::BudgetAllocator made(model.branches, allocator, config.train.epochs);
    for (const auto& [name, tensor] : made.state()) count_state(name, tensor);
  }
  return rows.take();
}

}  // namespace snell::train
