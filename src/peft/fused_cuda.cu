// Fused merge and gradients on CUDA: a plain, correct form of it. The mathematics of an entry and the radix selection
// are kernel_math.h's, which the CPU's kernels and tests share; here is only who works at what.
// Legend: H heads, I in features, O out features, R columns a head. Matrices are [O, I].
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>

#include "fused_cuda.h"
#include "snell/core/error.h"
#include "snell/peft/quantile.h"

namespace snell::peft {
namespace {

constexpr int kSide = 16;                // a block of threads works at a square of entries
constexpr int kThreads = kSide * kSide;  // one entry a thread
constexpr int kChunk = 32;               // factor columns in shared memory at a time
constexpr int kHeads = 8;                // at most; the same bound as the CPU's
constexpr int kMatrices = 4;             // of one launch: q, k, v
constexpr int kDigitBits = 11;           // 2,048 counters fit into shared memory
constexpr int64_t kMaxBlocksOfEntries = 4096;

template <class T>
using Radix = RadixSelection<T, kDigitBits>;

// A selection under way, in device memory. All zero is its start.
template <class T>
struct Selection {
  Radix<T> radix;
  unsigned long long inverted_least;  // ~bits of the least value beyond the prefix; 0: there is none
  int has_nan;
  unsigned int counts[Radix<T>::kBins];
};

template <class T>
struct Matrix {
  const T *in_HIR, *out_HOR;
  const T* base;   // null: zero
  T* weight;       // [O, I]
  const T* given;  // the threshold that is known already; null: there is none, or it is selected
  T* threshold;    // where a selected one goes
  Selection<T>* selection;
  int64_t in, outs, below;  // `below`: rank of the order statistic under the quantile
  T rank_weight;
};

// As a kernel's argument, by value.
template <class T>
struct Matrices {
  Matrix<T> of[kMatrices];
  int heads, columns;
};

// Distances of the entry (out row `o`, in row `i`) for all heads; the block's factors go through shared memory. Rows
// beyond the matrix read its last one.
template <class T, int kNorm>
__device__ void entry_distances(const T* in_HIR, const T* out_HOR, int64_t in, int64_t outs, int heads, int columns,
                                int64_t first_in, int64_t first_out, T (&distance)[kHeads]) {
  __shared__ T in_rows[kSide][kChunk + 1], out_rows[kSide][kChunk + 1];
  const int tid = threadIdx.y * kSide + threadIdx.x;
  for (int head = 0; head < heads; ++head) {
    T sum = 0;
    for (int first = 0; first < columns; first += kChunk) {
      const int size = min(kChunk, columns - first);
      __syncthreads();
      for (int at = tid; at < kSide * size; at += kThreads) {
        const int row = at / size, column = at % size;
        const int64_t i = min(first_in + row, in - 1), o = min(first_out + row, outs - 1);
        in_rows[row][column] = in_HIR[(head * in + i) * columns + first + column];
        out_rows[row][column] = out_HOR[(head * outs + o) * columns + first + column];
      }
      __syncthreads();
      for (int column = 0; column < size; ++column) {
        sum += distance_term<kNorm>(in_rows[threadIdx.x][column] - out_rows[threadIdx.y][column]);
      }
    }
    distance[head] = distance_of_sum<kNorm>(sum);
  }
}

template <class T>
__device__ T merged_entry(const T (&distance)[kHeads], int heads) {
  T k = 0;
  for (int head = 0; head < heads; ++head) k += kernel_coefficient<T>(head) * distance[head];
  return k;
}

template <class T, KeepRule kRule>
__device__ T kept_entry(const Matrix<T>& m, T k, int64_t at, T threshold) {
  const T delta = k * keep_scale<kRule>(k, threshold);
  return m.base == nullptr ? delta : m.base[at] + delta;
}

// K into the weight, its first digits counted; or, where no threshold has to be selected, the weight itself.
template <class T, int kNorm, KeepRule kRule, bool kSelects>
__global__ void merge_kernel(Matrices<T> matrices) {
  const Matrix<T>& m = matrices.of[blockIdx.z];
  __shared__ unsigned int counts[kSelects ? Radix<T>::kBins : 1];
  const int tid = threadIdx.y * kSide + threadIdx.x;
  if constexpr (kSelects) {
    for (int bin = tid; bin < Radix<T>::kBins; bin += kThreads) counts[bin] = 0;
    __syncthreads();
  }
  const T threshold = kSelects || m.given == nullptr ? T(0) : *m.given;
  const int64_t first_in = int64_t{blockIdx.x} * kSide, i = first_in + threadIdx.x;
  for (int64_t first_out = int64_t{blockIdx.y} * kSide; first_out < m.outs; first_out += int64_t{gridDim.y} * kSide) {
    T distance[kHeads];
    entry_distances<T, kNorm>(m.in_HIR, m.out_HOR, m.in, m.outs, matrices.heads, matrices.columns, first_in, first_out,
                              distance);
    const int64_t o = first_out + threadIdx.y;
    if (i >= m.in || o >= m.outs) continue;
    const T k = merged_entry(distance, matrices.heads);
    const int64_t at = o * m.in + i;
    if constexpr (kSelects) {
      m.weight[at] = k;
      if (k != k) m.selection->has_nan = 1;
      atomicAdd(&counts[Radix<T>::digit(magnitude_bits(k), 0)], 1u);
    } else {
      m.weight[at] = kept_entry<T, kRule>(m, k, at, threshold);
    }
  }
  if constexpr (kSelects) {
    __syncthreads();
    for (int bin = tid; bin < Radix<T>::kBins; bin += kThreads) {
      if (counts[bin] != 0) atomicAdd(&m.selection->counts[bin], counts[bin]);
    }
  }
}

// Counts the digit of a later round among the entries that have the prefix, and finds the least entry beyond it.
template <class T>
__global__ void count_kernel(Matrices<T> matrices, int round) {
  const Matrix<T>& m = matrices.of[blockIdx.z];
  __shared__ unsigned int counts[Radix<T>::kBins];
  for (int bin = threadIdx.x; bin < Radix<T>::kBins; bin += blockDim.x) counts[bin] = 0;
  __syncthreads();
  const Radix<T> radix = m.selection->radix;
  const int above_digit = Radix<T>::shift(round) + Radix<T>::width(round);
  unsigned long long least = ~0ull;
  const int64_t entries = m.in * m.outs;
  for (int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; at < entries;
       at += int64_t{gridDim.x} * blockDim.x) {
    const auto bits = magnitude_bits(m.weight[at]);
    if (radix.has_prefix(bits, round)) {
      atomicAdd(&counts[Radix<T>::digit(bits, round)], 1u);
    } else if ((bits >> above_digit) > (radix.prefix >> above_digit)) {
      least = min(least, static_cast<unsigned long long>(bits));
    }
  }
  if (round + 1 == Radix<T>::kRounds && least != ~0ull) atomicMax(&m.selection->inverted_least, ~least);
  __syncthreads();
  for (int bin = threadIdx.x; bin < Radix<T>::kBins; bin += blockDim.x) {
    if (counts[bin] != 0) atomicAdd(&m.selection->counts[bin], counts[bin]);
  }
}

// Takes the digit of a round; after the last one, the threshold. One block a matrix.
template <class T>
__global__ void advance_kernel(Matrices<T> matrices, int round) {
  using R = Radix<T>;
  constexpr int kGroup = 32;
  const Matrix<T>& m = matrices.of[blockIdx.x];
  Selection<T>& selection = *m.selection;
  __shared__ unsigned int counts[R::kBins];
  __shared__ unsigned int groups[R::kBins / kGroup];
  for (int bin = threadIdx.x; bin < R::kBins; bin += blockDim.x) {
    counts[bin] = selection.counts[bin];
    selection.counts[bin] = 0;
  }
  __syncthreads();
  for (int group = threadIdx.x; group < R::kBins / kGroup; group += blockDim.x) {
    unsigned int sum = 0;
    for (int bin = 0; bin < kGroup; ++bin) sum += counts[group * kGroup + bin];
    groups[group] = sum;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  R radix = selection.radix;
  if (round == 0) radix.remaining = m.below;
  int64_t first = 0;
  while (first + kGroup < (int64_t{1} << R::width(round)) && radix.remaining >= int64_t{groups[first / kGroup]}) {
    radix.remaining -= groups[first / kGroup];
    first += kGroup;
  }
  radix.advance(counts, round, first);
  selection.radix = radix;
  if (round + 1 < R::kRounds) return;
  const T below = from_magnitude_bits<T>(radix.prefix);
  T threshold = below;
  if (radix.remaining + 1 >= radix.equal && m.below + 1 < m.in * m.outs) {
    using Word = typename R::Word;
    Word above = static_cast<Word>(~selection.inverted_least);
    for (int64_t bin = R::digit(radix.prefix, round) + 1; bin < (int64_t{1} << R::width(round)); ++bin) {
      if (counts[bin] == 0) continue;
      above = (radix.prefix & ~static_cast<Word>((Word{1} << R::width(round)) - 1)) | static_cast<Word>(bin);
      break;
    }
    threshold = interpolate(below, from_magnitude_bits<T>(above), m.rank_weight);
  }
  *m.threshold = selection.has_nan != 0 ? static_cast<T>(NAN) : threshold;
}

template <class T, KeepRule kRule>
__global__ void keep_kernel(Matrices<T> matrices) {
  const Matrix<T>& m = matrices.of[blockIdx.z];
  const T threshold = *m.threshold;
  const int64_t entries = m.in * m.outs;
  for (int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; at < entries;
       at += int64_t{gridDim.x} * blockDim.x) {
    m.weight[at] = kept_entry<T, kRule>(m, m.weight[at], at, threshold);
  }
}

// Gradients of one factor, the `own` one: a block owns kSide of its rows and goes through a part of the other's, adding
// to sums of its own, so that nothing is added in an order that could change. own − other is in − out for the in factor
// and the negative of it for the out factor, as the signs of both gradients want it.
template <class T, int kNorm, KeepRule kRule, bool kOwnIsIn>
__global__ void grads_kernel(const T* in_HIR, const T* out_HOR, const T* grad_OI, const T* given, int64_t in,
                             int64_t outs, int heads, int columns, T* sums_PHXR) {
  const int64_t own_rows = kOwnIsIn ? in : outs, other_rows = kOwnIsIn ? outs : in;
  const T* own_HXR = kOwnIsIn ? in_HIR : out_HOR;
  const T* other_HXR = kOwnIsIn ? out_HOR : in_HIR;
  const T threshold = given == nullptr ? T(0) : *given;
  __shared__ T ratio[kSide][kSide + 1];  // [own][other]
  const int tid = threadIdx.y * kSide + threadIdx.x;
  const int64_t first_own = int64_t{blockIdx.x} * kSide, parts = gridDim.y, part = blockIdx.y;
  const int64_t tiles = (other_rows + kSide - 1) / kSide;
  for (int64_t tile = part * tiles / parts; tile < (part + 1) * tiles / parts; ++tile) {
    const int64_t first_other = tile * kSide;
    const int64_t first_in = kOwnIsIn ? first_own : first_other, first_out = kOwnIsIn ? first_other : first_own;
    T distance[kHeads];
    entry_distances<T, kNorm>(in_HIR, out_HOR, in, outs, heads, columns, first_in, first_out, distance);
    const int64_t i = first_in + threadIdx.x, o = first_out + threadIdx.y;
    T grad_k = 0;
    if (i < in && o < outs) {
      grad_k = grad_OI[o * in + i] * keep_scale<kRule>(merged_entry(distance, heads), threshold);
    }
    for (int head = 0; head < heads; ++head) {
      __syncthreads();
      ratio[kOwnIsIn ? threadIdx.x : threadIdx.y][kOwnIsIn ? threadIdx.y : threadIdx.x] =
          distance_ratio<kNorm>(kernel_coefficient<T>(head) * grad_k, distance[head]);
      __syncthreads();
      for (int at = tid; at < kSide * columns; at += kThreads) {
        const int row = at / columns, column = at % columns;
        if (first_own + row >= own_rows) break;
        const T own = own_HXR[(head * own_rows + first_own + row) * columns + column];
        T sum = 0;
        for (int other = 0; other < kSide && first_other + other < other_rows; ++other) {
          const T there = other_HXR[(head * other_rows + first_other + other) * columns + column];
          sum += ratio[row][other] * slope<kNorm>(own - there);
        }
        sums_PHXR[((part * heads + head) * own_rows + first_own + row) * columns + column] += sum;
      }
    }
  }
}

unsigned blocks_of(int64_t work, int64_t a_block) {
  return static_cast<unsigned>((work + a_block - 1) / a_block);
}

// Calls f with the norm and the rule as compile-time values.
template <class F>
void dispatch(const FusedKernel& kernel, const F& f) {
  const auto with_rule = [&]<int kNorm>() {
    switch (kernel.rule) {
      case KeepRule::kAll:
        return f.template operator()<kNorm, KeepRule::kAll>();
      case KeepRule::kHardThreshold:
        return f.template operator()<kNorm, KeepRule::kHardThreshold>();
      case KeepRule::kSoftThreshold:
        return f.template operator()<kNorm, KeepRule::kSoftThreshold>();
    }
  };
  kernel.norm_p == 2 ? with_rule.template operator()<2>() : with_rule.template operator()<1>();
}

template <class T>
void merge(const FusedKernel& kernel, std::vector<FusedMatrix>& given) {
  const auto stream = at::cuda::getCurrentCUDAStream();
  const auto count = static_cast<int64_t>(given.size());
  core::check(count >= 1 && count <= kMatrices, core::str("one launch merges 1 to 4 matrices, not ", count));
  const FusedMatrix& first = given.front();
  const bool selects = kernel.rule != KeepRule::kAll && !first.threshold.defined();
  Matrices<T> matrices{};
  matrices.heads = static_cast<int>(first.in_HIR.size(0));
  matrices.columns = static_cast<int>(first.in_HIR.size(2));
  std::vector<at::Tensor> alive;  // until the launches are queued: the allocator orders frees by stream
  at::Tensor selections;
  if (selects) {
    selections =
        at::zeros({count, static_cast<int64_t>(sizeof(Selection<T>))}, first.in_HIR.options().dtype(at::kByte));
  }
  int64_t most_in = 0, most_out = 0;
  for (int64_t z = 0; z < count; ++z) {
    FusedMatrix& from = given[static_cast<size_t>(z)];
    Matrix<T>& m = matrices.of[z];
    const at::Tensor in = alive.emplace_back(from.in_HIR.contiguous()),
                     out = alive.emplace_back(from.out_HOR.contiguous());
    m = {in.const_data_ptr<T>(),
         out.const_data_ptr<T>(),
         from.base_OI.defined() ? from.base_OI.const_data_ptr<T>() : nullptr,
         from.weight_OI.mutable_data_ptr<T>(),
         nullptr,
         nullptr,
         nullptr,
         in.size(1),
         out.size(1),
         0,
         T(0)};
    if (selects) {
      from.threshold = at::empty({}, in.options());
      m.threshold = from.threshold.mutable_data_ptr<T>();
      m.selection = reinterpret_cast<Selection<T>*>(selections[z].data_ptr());
      const QuantileRank rank = quantile_rank(from.sparsity, m.in * m.outs, in.scalar_type());
      m.below = rank.below;
      m.rank_weight = static_cast<T>(rank.weight);
    } else if (kernel.rule != KeepRule::kAll) {
      m.given = from.threshold.const_data_ptr<T>();
    }
    most_in = std::max(most_in, m.in);
    most_out = std::max(most_out, m.outs);
  }
  const dim3 threads(kSide, kSide);
  const dim3 squares(blocks_of(most_in, kSide), std::min(blocks_of(most_out, kSide), 64u),
                     static_cast<unsigned>(count));
  const dim3 lines(
      static_cast<unsigned>(std::min<int64_t>(blocks_of(most_in * most_out, kThreads * 8), kMaxBlocksOfEntries)), 1,
      static_cast<unsigned>(count));
  dispatch(kernel, [&]<int kNorm, KeepRule kRule>() {
    if (!selects) {
      merge_kernel<T, kNorm, kRule, false><<<squares, threads, 0, stream>>>(matrices);
      C10_CUDA_KERNEL_LAUNCH_CHECK();
      return;
    }
    merge_kernel<T, kNorm, kRule, true><<<squares, threads, 0, stream>>>(matrices);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    for (int round = 0; round < Radix<T>::kRounds; ++round) {
      if (round > 0) {
        count_kernel<T><<<lines, kThreads, 0, stream>>>(matrices, round);
        C10_CUDA_KERNEL_LAUNCH_CHECK();
      }
      advance_kernel<T><<<static_cast<unsigned>(count), kThreads, 0, stream>>>(matrices, round);
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    }
    keep_kernel<T, kRule><<<lines, kThreads, 0, stream>>>(matrices);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  });
}

// Sums of one factor's gradients, [H, X, R].
template <class T, bool kOwnIsIn>
at::Tensor grads_of(const FusedKernel& kernel, const at::Tensor& in, const at::Tensor& out, const at::Tensor& grad_OI,
                    const at::Tensor& threshold) {
  const at::Tensor& own = kOwnIsIn ? in : out;
  const int64_t blocks = blocks_of(own.size(1), kSide), other_tiles = blocks_of((kOwnIsIn ? out : in).size(1), kSide);
  const int64_t parts = std::min(other_tiles, std::max<int64_t>(1, 512 / blocks));  // about 512 blocks fill a GPU
  const at::Tensor sums = at::zeros({parts, own.size(0), own.size(1), own.size(2)}, own.options());
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(parts));
  dispatch(kernel, [&]<int kNorm, KeepRule kRule>() {
    grads_kernel<T, kNorm, kRule, kOwnIsIn><<<grid, dim3(kSide, kSide), 0, at::cuda::getCurrentCUDAStream()>>>(
        in.const_data_ptr<T>(), out.const_data_ptr<T>(), grad_OI.const_data_ptr<T>(),
        threshold.defined() ? threshold.const_data_ptr<T>() : nullptr, in.size(1), out.size(1),
        static_cast<int>(in.size(0)), static_cast<int>(in.size(2)), sums.mutable_data_ptr<T>());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return sums.sum(0);
}

}  // namespace

void fused_merge_cuda(const FusedKernel& kernel, std::vector<FusedMatrix>& matrices) {
  AT_DISPATCH_FLOATING_TYPES(matrices.front().in_HIR.scalar_type(), "fused_merge_cuda",
                             [&] { merge<scalar_t>(kernel, matrices); });
}

FusedGrads fused_factor_grads_cuda(const FusedKernel& kernel, const at::Tensor& in_HIR, const at::Tensor& out_HOR,
                                   const at::Tensor& grad_OI, const at::Tensor& threshold) {
  const at::Tensor in = in_HIR.contiguous(), out = out_HOR.contiguous();
  FusedGrads grads;
  AT_DISPATCH_FLOATING_TYPES(in.scalar_type(), "fused_factor_grads_cuda", [&] {
    grads = {grads_of<scalar_t, true>(kernel, in, out, grad_OI, threshold),
             grads_of<scalar_t, false>(kernel, in, out, grad_OI, threshold)};
  });
  return grads;
}

}  // namespace snell::peft
