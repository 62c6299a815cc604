// The CPU's side of fused.h. On the meta device it allocates as on the CPU and computes nothing (snell plan).
#pragma once

#include "snell/peft/fused.h"

namespace snell::peft {

void fused_merge_cpu(const FusedKernel& kernel, FusedMatrix& matrix);
FusedGrads fused_factor_grads_cpu(const FusedKernel& kernel, const at::Tensor& in_HIR, const at::Tensor& out_HOR,
                                  const at::Tensor& grad_OI, const at::Tensor& threshold);

}  // namespace snell::peft
