#include "snell/peft/kernel.h"

namespace snell::peft {
namespace {

// Direct differences: the expansion |a|² − 2ab + |b|² would cancel for nearly equal rows.
constexpr int64_t kWithoutMatrixMultiply = 2;

}  // namespace

std::vector<at::Tensor> DistanceKernel::distances(const at::Tensor& in_HIR, const at::Tensor& out_HOR) const {
  std::vector<at::Tensor> out;
  for (int64_t h = 0; h < in_HIR.size(0); ++h) {
    out.push_back(at::cdist(in_HIR[h], out_HOR[h], norm_p_, kWithoutMatrixMultiply));
  }
  return out;
}

at::Tensor DistanceKernel::merge(const std::vector<at::Tensor>& distances_IO) const {
  at::Tensor merged_IO = distances_IO[0] * coefficient(0);
  for (size_t h = 1; h < distances_IO.size(); ++h) merged_IO.add_(distances_IO[h], coefficient(h));
  return merged_IO;
}

DistanceKernel::FactorGrads DistanceKernel::backward(const at::Tensor& grad_IO,
                                                     const std::vector<at::Tensor>& distances_IO,
                                                     const at::Tensor& in_HIR, const at::Tensor& out_HOR) const {
  FactorGrads grads{at::empty_like(in_HIR), at::empty_like(out_HOR)};
  for (size_t h = 0; h < distances_IO.size(); ++h) {
    const at::Tensor in_IR = in_HIR[static_cast<int64_t>(h)], out_OR = out_HOR[static_cast<int64_t>(h)];
    at::Tensor grad_in_IR = grads.in_HIR[static_cast<int64_t>(h)], grad_out_OR = grads.out_HOR[static_cast<int64_t>(h)];
    const at::Tensor& distance_IO = distances_IO[h];
    if (norm_p_ == 2) {  // method.md's closed form: two GEMMs instead of a pass over I·O·R
      at::Tensor ratio_IO = (grad_IO * coefficient(h)).div_(distance_IO).masked_fill_(distance_IO == 0, 0);
      grad_in_IR.copy_(in_IR * ratio_IO.sum(1, true)).sub_(ratio_IO.mm(out_OR));
      grad_out_OR.copy_(out_OR * ratio_IO.sum(0).unsqueeze(1)).sub_(ratio_IO.t().mm(in_IR));
    } else {
      const at::Tensor scaled_IO = grad_IO * coefficient(h);
      grad_in_IR.copy_(at::_cdist_backward(scaled_IO, in_IR, out_OR, norm_p_, distance_IO));
      grad_out_OR.copy_(at::_cdist_backward(scaled_IO.t().contiguous(), out_OR.contiguous(), in_IR.contiguous(),
                                            norm_p_, distance_IO.t().contiguous()));
    }
  }
  return grads;
}

}  // namespace snell::peft
