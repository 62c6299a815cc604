// What both reducers ask of the parameters whose gradients they sum.
#pragma once

#include "snell/core/error.h"
#include "snell/core/text.h"
#include "snell/dist/reducer.h"

namespace snell::dist {

inline void check_trainable(const NamedTensor& named, const at::Tensor& first) {
  const at::Tensor& t = named.tensor;
  core::check(t.defined() && t.is_leaf() && t.requires_grad(),
              core::str("trainable parameter '", named.name, "' is not a leaf that requires a gradient"));
  core::check(t.device() == first.device(), core::str("trainable parameter '", named.name, "' is on ", t.device().str(),
                                                      ", the others are on ", first.device().str()));
}

}  // namespace snell::dist
