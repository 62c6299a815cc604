// CUDA's side of fused.h: launchers on the current stream, without host synchronisation.
#pragma once

#include "snell/peft/fused.h"

namespace snell::peft {

void fused_merge_cuda(const FusedKernel& kernel, std::vector<FusedMatrix>& matrices);
FusedGrads fused_factor_grads_cuda(const FusedKernel& kernel, const at::Tensor& in_HIR, const at::Tensor& out_HOR,
                                   const at::Tensor& grad_OI, const at::Tensor& threshold);

}  // namespace snell::peft
