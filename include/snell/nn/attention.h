// Scaled dot-product attention, as the backbones call it. Legend: B batch or windows, H heads, N tokens, E features of
// a head.
#pragma once

#include <torch/types.h>

namespace snell::nn {

// softmax(q·kᵀ / √E + bias)·v of q, k, v [B, H, N, E]: [B, H, N, E]. `bias`, which may be undefined, is what is added
// to the scores and broadcasts to [B, H, N, N]. On the meta device it is the operation that the CPU would choose.
at::Tensor attention(const at::Tensor& q_BHNE, const at::Tensor& k_BHNE, const at::Tensor& v_BHNE,
                     const at::Tensor& bias = {});

}  // namespace snell::nn
