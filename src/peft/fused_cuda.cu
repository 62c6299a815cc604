// Fused merge on CUDA. The mathematics of an entry and the radix selection are kernel_math.h's, which the CPU's kernels
// and tests share; here is only who works at what.
// Legend: H heads, I in features, O out features, R columns a head. Matrices are [O, I].
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>

#include "fused_cuda.h"
#include "fused_tiles.cuh"
#include "snell/core/error.h"
#include "snell/peft/quantile.h"

namespace snell::peft {
namespace {

constexpr int kMatrices = 4;    // of one launch: q, k, v
constexpr int kDigitBits = 11;  // 2,048 counters fit into shared memory
constexpr int kAtOnce = 4;      // entries that a thread loads before it looks at the first of them
constexpr int64_t kMaxBlocksOfEntries = 2 * kBlocksThatFill;  // each clears and hands over its counters

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

// Rounded once, also where a product comes before: the forward pass and the rebuild must have equal bits.
__device__ float rounded_sum(float a, float b) {
  return __fadd_rn(a, b);
}
__device__ double rounded_sum(double a, double b) {
  return __dadd_rn(a, b);
}

template <class T>
__device__ T base_at(const Matrix<T>& m, int64_t at) {
  return m.base == nullptr ? T(0) : m.base[at];
}

template <class T, KeepRule kRule>
__device__ T kept_entry(T base, T k, T threshold) {
  return rounded_sum(base, k * keep_scale<kRule>(k, threshold));
}

// K into the weight, its first digits counted; or, where no threshold has to be selected, the weight itself.
template <class T, int kNorm, KeepRule kRule, bool kSelects>
__global__ void __launch_bounds__(kThreads) merge_kernel(Matrices<T> matrices) {
  const Matrix<T>& m = matrices.of[blockIdx.z];
  const Factors<T> factors{m.in_HIR, m.out_HOR, m.in, m.outs, matrices.heads, matrices.columns};
  __shared__ FactorTiles<T> tiles;
  __shared__ unsigned int counts[kSelects ? Radix<T>::kBins : 1];
  if constexpr (kSelects) {
    for (int bin = thread_number(); bin < Radix<T>::kBins; bin += kThreads) counts[bin] = 0;
    __syncthreads();
  }
  const T threshold = kSelects || m.given == nullptr ? T(0) : *m.given;
  const int64_t first_in = int64_t{blockIdx.x} * kTile<T>;
  for (int64_t first_out = int64_t{blockIdx.y} * kTile<T>; first_out < m.outs;
       first_out += int64_t{gridDim.y} * kTile<T>) {
    T k[kPer<T>][kPer<T>] = {}, base[kPer<T>][kPer<T>];
    if constexpr (!kSelects) {  // on their way while the distances are computed
#pragma unroll
      for (int b = 0; b < kPer<T>; ++b) {
#pragma unroll
        for (int a = 0; a < kPer<T>; ++a) {
          const int64_t i = first_in + threadIdx.x + kSide * a, o = first_out + threadIdx.y + kSide * b;
          base[b][a] = i < m.in && o < m.outs ? base_at(m, o * m.in + i) : T(0);
        }
      }
    }
    for (int head = 0; head < factors.heads; ++head) {
      T distance[kPer<T>][kPer<T>];
      head_distances<T, kNorm>(tiles, factors, first_in, first_out, head, distance);
      add_head(head, distance, k);
    }
#pragma unroll
    for (int b = 0; b < kPer<T>; ++b) {
#pragma unroll
      for (int a = 0; a < kPer<T>; ++a) {
        const int64_t i = first_in + threadIdx.x + kSide * a, o = first_out + threadIdx.y + kSide * b;
        if (i >= m.in || o >= m.outs) continue;
        const int64_t at = o * m.in + i;
        if constexpr (kSelects) {
          m.weight[at] = k[b][a];
          if (k[b][a] != k[b][a]) m.selection->has_nan = 1;
          atomicAdd(&counts[Radix<T>::digit(magnitude_bits(k[b][a]), 0)], 1u);
        } else {
          m.weight[at] = kept_entry<T, kRule>(base[b][a], k[b][a], threshold);
        }
      }
    }
  }
  if constexpr (kSelects) {
    __syncthreads();
    for (int bin = thread_number(); bin < Radix<T>::kBins; bin += kThreads) {
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
  const int64_t entries = m.in * m.outs, stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; at < entries; at += kAtOnce * stride) {
    T k[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) k[i] = at + i * stride < entries ? m.weight[at + i * stride] : T(0);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (at + i * stride >= entries) break;
      const auto bits = magnitude_bits(k[i]);
      if (radix.has_prefix(bits, round)) {
        atomicAdd(&counts[Radix<T>::digit(bits, round)], 1u);
      } else if ((bits >> above_digit) > (radix.prefix >> above_digit)) {
        least = min(least, static_cast<unsigned long long>(bits));
      }
    }
  }
  __shared__ unsigned long long inverted_least;  // of the block: one visitor in device memory instead of 256
  if (round + 1 == Radix<T>::kRounds) {
    if (threadIdx.x == 0) inverted_least = 0;
    __syncthreads();
    for (int offset = 16; offset > 0; offset /= 2) least = min(least, __shfl_xor_sync(~0u, least, offset));
    if (threadIdx.x % 32 == 0) atomicMax(&inverted_least, ~least);
    __syncthreads();
    if (threadIdx.x == 0 && inverted_least != 0) atomicMax(&m.selection->inverted_least, inverted_least);
  }
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
    for (int bin = 0; bin < kGroup; ++bin) sum += counts[group * kGroup + (bin + group) % kGroup];  // a bank each
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
  const int64_t entries = m.in * m.outs, stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; at < entries; at += kAtOnce * stride) {
    T k[kAtOnce], base[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (at + i * stride >= entries) break;
      k[i] = m.weight[at + i * stride];
      base[i] = base_at(m, at + i * stride);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (at + i * stride >= entries) break;
      m.weight[at + i * stride] = kept_entry<T, kRule>(base[i], k[i], threshold);
    }
  }
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
  // A block that selects counts in its own memory first: few blocks, that go through several tiles each.
  const unsigned across = blocks_of(most_in, kTile<T>), down = blocks_of(most_out, kTile<T>);
  const auto wanted = static_cast<unsigned>(std::max<int64_t>(1, 2 * kBlocksThatFill / (across * count)));
  const dim3 squares(across, std::min(down, wanted), static_cast<unsigned>(count));
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

}  // namespace

void fused_merge_cuda(const FusedKernel& kernel, std::vector<FusedMatrix>& matrices) {
  AT_DISPATCH_FLOATING_TYPES(matrices.front().in_HIR.scalar_type(), "fused_merge_cuda",
                             [&] { merge<scalar_t>(kernel, matrices); });
}

}  // namespace snell::peft
