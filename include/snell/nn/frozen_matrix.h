// The frozen weight of a projection group, plain or in the storage that the model's place names.
#pragma once

#include <memory>

#include "snell/core/frozen_weight.h"
#include "snell/nn/projection.h"

namespace snell::nn {

struct FrozenMatrix {
  // [out, in]. Plain: the weight itself. Stored: its shape and type alone, on the meta device; its value goes through
  // Backbone::set_value and value_of.
  at::Tensor published_OI;
  std::shared_ptr<const core::FrozenWeight> weight;  // what computes
};

FrozenMatrix make_frozen_matrix(const ProjectionSpec& spec, const TensorPlace& place);

}  // namespace snell::nn
