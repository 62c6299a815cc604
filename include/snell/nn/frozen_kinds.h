// backbone.frozen_storage: how one process keeps frozen projection weights.
#pragma once

#include <memory>

#include "snell/core/frozen_storage.h"
#include "snell/nn/backbone.h"

namespace snell::nn {

// A storage for one model in `place`; null: plain tensors (also for bfloat16 where that is the compute type: the same).
// Throws ConfigError and WeightsError as MappedStorage does. On the meta device no file is needed.
std::shared_ptr<core::FrozenStorage> make_frozen_kind(const BackboneConfig& config, const TensorPlace& place);

}  // namespace snell::nn
