#include "snell/peft/kernel.h"

namespace snell::peft {
namespace {

// Direct differences: the expansion |a|² − 2ab + |b|² would cancel for nearly equal rows.
constexpr int64_t kWithoutMatrixMultiply = 2;

// Squared Euclidean distances of rows, by direct differences. The inner loop runs over the out features, so that the
// compiler vectorises it whatever the number of columns; at::cdist's runs over the columns and is several times slower
// for the few that low-rank factors have. Each element is one thread's: equal bits for any number of threads.
template <class T>
void squared_distances(const T* in_IR, const T* out_RO, T* squared_IO, int64_t rows, int64_t columns, int64_t outs) {
  at::parallel_for(0, rows, std::max<int64_t>(1, (1 << 15) / (outs * columns + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T* __restrict__ row = squared_IO + i * outs;
      std::fill(row, row + outs, T(0));
      for (int64_t r = 0; r < columns; ++r) {
        const T a = in_IR[i * columns + r];
        const T* __restrict__ b = out_RO + r * outs;
        for (int64_t j = 0; j < outs; ++j) row[j] += (a - b[j]) * (a - b[j]);
      }
    }
  });
}

at::Tensor distances_of_head(const at::Tensor& in_IR, const at::Tensor& out_OR, double norm_p) {
  if (norm_p != 2 || in_IR.is_cuda()) return at::cdist(in_IR, out_OR, norm_p, kWithoutMatrixMultiply);
  const at::Tensor in = in_IR.contiguous(), out_RO = out_OR.t().contiguous();
  at::Tensor squared_IO = at::empty({in.size(0), out_RO.size(1)}, in.options());
  if (in.is_meta()) return squared_IO;  // what is allocated is all that is wanted (snell plan)
  AT_DISPATCH_FLOATING_TYPES(in.scalar_type(), "squared_distances", [&] {
    squared_distances(in.const_data_ptr<scalar_t>(), out_RO.const_data_ptr<scalar_t>(),
                      squared_IO.mutable_data_ptr<scalar_t>(), in.size(0), in.size(1), out_RO.size(1));
  });
  return squared_IO.sqrt_();
}

}  // namespace

std::vector<at::Tensor> DistanceKernel::distances(const at::Tensor& in_HIR, const at::Tensor& out_HOR) const {
  std::vector<at::Tensor> out;
  for (int64_t h = 0; h < in_HIR.size(0); ++h) {
    out.push_back(distances_of_head(in_HIR[h], out_HOR[h], norm_p_));
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
