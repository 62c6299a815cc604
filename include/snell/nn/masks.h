// Dropout and drop-path factors as functions of (seed, step, sample, layer): drawn again in a backward pass instead of
// kept, and equal on any number of ranks and on CPU and CUDA alike.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "snell/core/random.h"
#include "snell/core/step_context.h"

namespace snell::nn {

// The rule that CPU and CUDA share: whether draw `bits` keeps its element when a fraction `p` is dropped.
SNELL_HOST_DEVICE_INLINE bool keeps(uint32_t bits, float p) {
  return core::to_unit_float(bits) >= p;
}

// A tensor shaped like `like` [B, ...] with 0 where an element is dropped and 1/(1-p) elsewhere. Element j of sample b
// is draw j of the stream (seed, purpose, step, first_slot + b, layer). 0 <= p < 1.
at::Tensor dropout_factors(const at::Tensor& like, double p, const core::StepContext& context, core::Purpose purpose,
                           uint32_t layer);

// x times these factors, in one pass over it on the CPU. Outside of autograd.
at::Tensor dropout(const at::Tensor& x, double p, const core::StepContext& context, core::Purpose purpose,
                   uint32_t layer);

// One factor a sample, shaped [B, 1, ..., 1] for broadcasting over `like`.
at::Tensor drop_path_factors(const at::Tensor& like, double p, const core::StepContext& context, core::Purpose purpose,
                             uint32_t layer);

// The CUDA launcher behind both (masks_cuda.cu): writes `per_sample` factors for each of `batch` samples.
void fill_dropout_factors_cuda(at::Tensor& out, int64_t batch, int64_t per_sample, double p,
                               const core::StepContext& context, core::Purpose purpose, uint32_t layer);

}  // namespace snell::nn
