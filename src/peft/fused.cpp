#include "snell/peft/fused.h"

#include <ATen/record_function.h>

#include "fused_cpu.h"
#include "snell/core/error.h"
#include "tiles.h"
#ifdef SNELL_WITH_CUDA
#include "fused_cuda.h"
#endif

namespace snell::peft {
namespace {

void check(const FusedMatrix& m) {
  core::check(m.weight_OI.is_contiguous() && m.weight_OI.size(0) == m.out_HOR.size(1) &&
                  m.weight_OI.size(1) == m.in_HIR.size(1),
              "the merged weight must be contiguous and [out features, in features]");
  core::check(!m.base_OI.defined() || (m.base_OI.is_contiguous() && m.base_OI.sizes() == m.weight_OI.sizes() &&
                                       m.base_OI.scalar_type() == m.weight_OI.scalar_type()),
              "the weight that is added to must be of the merged one's shape and type, and contiguous");
}

// Tells profilers, and `snell plan`, that matrices are merged: entries, columns of their factors, sparsity, and whether
// a threshold is looked for.
class MergeRecord {
 public:
  MergeRecord(const FusedKernel& kernel, const std::vector<FusedMatrix>& matrices) : call_(at::RecordScope::FUNCTION) {
    if (!call_.isActive()) return;
    const FusedMatrix& first = matrices.front();
    int64_t entries = 0;
    for (const auto& m : matrices) entries += m.weight_OI.numel();
    inputs_ = {entries, first.in_HIR.size(0) * first.in_HIR.size(2), first.sparsity,
               kernel.rule != KeepRule::kAll && !first.threshold.defined()};
    call_.before("snell::merge", c10::ArrayRef<const c10::IValue>(inputs_.data(), inputs_.size()));
  }

 private:
  std::vector<c10::IValue> inputs_;  // outlives the call
  at::RecordFunction call_;
};

// All of the factors' type.
void merge_here(const FusedKernel& kernel, std::vector<FusedMatrix>& matrices) {
#ifdef SNELL_WITH_CUDA
  if (matrices.front().in_HIR.is_cuda()) return fused_merge_cuda(kernel, matrices);
#endif
  for (auto& m : matrices) fused_merge_cpu(kernel, m);
}

}  // namespace

bool fused_road_exists(const at::Tensor& in_HIR, double norm_p) {
  const auto type = in_HIR.scalar_type();
  if ((type != at::kFloat && type != at::kDouble) || (norm_p != 1 && norm_p != 2) || in_HIR.size(0) > kMaxFusedHeads) {
    return false;
  }
  return in_HIR.is_cpu() || in_HIR.is_meta() || (in_HIR.is_cuda() && cuda_kernels_agree());
}

void fused_merge(const FusedKernel& kernel, std::vector<FusedMatrix>& matrices) {
  const MergeRecord record(kernel, matrices);
  std::vector<FusedMatrix> wide = matrices;  // in the factors' type
  for (auto& m : wide) {
    check(m);
    if (m.weight_OI.scalar_type() == m.in_HIR.scalar_type()) continue;
    m.base_OI.reset();
    m.weight_OI = at::empty(m.weight_OI.sizes(), m.in_HIR.options());
  }
  merge_here(kernel, wide);
  for (size_t i = 0; i < wide.size(); ++i) {
    FusedMatrix& m = matrices[i];
    m.threshold = wide[i].threshold;
    if (wide[i].weight_OI.is_same(m.weight_OI)) continue;
    if (m.base_OI.defined()) {
      at::add_out(m.weight_OI, m.base_OI, wide[i].weight_OI);
    } else {
      m.weight_OI.copy_(wide[i].weight_OI);
    }
  }
}

FusedGrads fused_factor_grads(const FusedKernel& kernel, const at::Tensor& in_HIR, const at::Tensor& out_HOR,
                              const at::Tensor& grad_OI, const at::Tensor& threshold) {
  core::check(grad_OI.is_contiguous() && grad_OI.size(0) == out_HOR.size(1) && grad_OI.size(1) == in_HIR.size(1) &&
                  grad_OI.scalar_type() == in_HIR.scalar_type(),
              "dL/dΔW must be contiguous, [out features, in features] and of the factors' type");
#ifdef SNELL_WITH_CUDA
  if (in_HIR.is_cuda()) return fused_factor_grads_cuda(kernel, in_HIR, out_HOR, grad_OI, threshold);
#endif
  return fused_factor_grads_cpu(kernel, in_HIR, out_HOR, grad_OI, threshold);
}

}  // namespace snell::peft
