// Adapters merged into the published weights: y = x·(W0 + ΔWᵀ)ᵀ + b + Δb, so that a model of the same architecture
// without adapters gives the same outputs.
// Legend: I in features, O out features of a whole layer (fused q, k and v are one).
#pragma once

#include "snell/peft/tuning.h"

namespace snell::peft {

// What a layer's adapters add, in the layout of its published tensors.
struct LayerDelta {
  at::Tensor weight_OI;  // the rows of slices without an adapter are zero
  at::Tensor bias_O;     // undefined: nothing is added
};

// Outside of the graph, in the type of the factors. Throws ConfigError for an adapter that is no matrix (the
// bottleneck).
LayerDelta delta_of(const TunedModel& model, const AdaptedLayer& layer);

// Every published tensor under its name, in the order of Backbone::published(); those of adapted layers are new ones,
// the others share storage with the model. Throws ConfigError where delta_of() does, and where an adapter has a bias
// but its layer has none.
nn::Parameters merged_parameters(const TunedModel& model);

}  // namespace snell::peft
