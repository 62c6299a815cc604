// The factors' gradients on CUDA. The mathematics of an entry is kernel_math.h's, which the CPU's kernels and tests
// share; here is only who works at what. Legend: H heads, X rows of one factor, R columns a head, P parts of the sums.
// Matrices are [O, I].
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>

#include "fused_cuda.h"
#include "fused_tiles.cuh"

namespace snell::peft {
namespace {

// A block sums up the gradients of kTile rows of one factor, its own, for kPairs pairs of a head and a chunk of columns
// at a time. kGroups groups of threads share a tile's rows of the other factor; their sums meet in the end.
constexpr int kPairs = 2, kGroups = 4;
constexpr int kAside = 4;  // a group is kSide rows x kAside columns of threads, with kPer x kAside sums each
static_assert(kSide * kAside * kGroups == kThreads && kAside * kAside == kChunk);

template <class T>
using Square = T[kPer<T>][kPer<T>];  // of entries, [out][in]: see head_distances
template <class T>
using Sums = T[kPer<T>][kAside];  // of own rows and columns

// Where a thread stands when it sums up.
struct Place {
  int group = thread_number() / (kSide * kAside), row = thread_number() % kSide,
      column = thread_number() / kSide % kAside;
};

// Ratios of a tile, [other][own]; a row's length keeps the writers of a warp off each other's banks.
template <class T, bool kOwnIsIn>
constexpr int kRatioStride = kTile<T> + (kOwnIsIn ? kSide : 2);

// dL/dK of this thread's entries, 0 outside of the matrix and where nothing was kept; and the distances of the pairs'
// heads.
template <class T, int kNorm, KeepRule kRule>
__device__ void kept_grads(FactorTiles<T>& tiles, const Factors<T>& f, const T* grad_OI, T threshold, int64_t first_in,
                           int64_t first_out, const int (&heads)[kPairs], Square<T>& grad_k,
                           Square<T> (&of_pair)[kPairs]) {
  Square<T> k = {};
  for (int head = 0; head < f.heads; ++head) {
    Square<T> distance;
    head_distances<T, kNorm>(tiles, f, first_in, first_out, head, distance);
    add_head(head, distance, k);
#pragma unroll
    for (int p = 0; p < kPairs; ++p) {
      if (heads[p] != head) continue;
#pragma unroll
      for (int b = 0; b < kPer<T>; ++b) {
#pragma unroll
        for (int a = 0; a < kPer<T>; ++a) of_pair[p][b][a] = distance[b][a];
      }
    }
  }
#pragma unroll
  for (int b = 0; b < kPer<T>; ++b) {
#pragma unroll
    for (int a = 0; a < kPer<T>; ++a) {
      const int64_t i = first_in + threadIdx.x + kSide * a, o = first_out + threadIdx.y + kSide * b;
      const bool inside = i < f.in && o < f.outs;
      grad_k[b][a] = inside ? grad_OI[o * f.in + i] * keep_scale<kRule>(k[b][a], threshold) : T(0);
    }
  }
}

// Rows of the other factor beyond the matrix have the ratio 0.
template <class T, int kNorm, bool kOwnIsIn>
__device__ void store_ratios(T* ratios, int head, const Square<T>& grad_k, const Square<T>& distance) {
#pragma unroll
  for (int b = 0; b < kPer<T>; ++b) {
#pragma unroll
    for (int a = 0; a < kPer<T>; ++a) {
      const int i = static_cast<int>(threadIdx.x) + kSide * a, o = static_cast<int>(threadIdx.y) + kSide * b;
      T ratio = kernel_coefficient<T>(head) * grad_k[b][a];
      // Most entries were cut: their 0 would take the division's slow path.
      if (ratio != T(0)) ratio = distance_ratio<kNorm>(ratio, distance[b][a]);
      ratios[(kOwnIsIn ? o : i) * kRatioStride<T, kOwnIsIn> + (kOwnIsIn ? i : o)] = ratio;
    }
  }
}

// own − other is in − out for the in factor and the negative of it for the out factor, as the signs of both gradients
// want it.
template <class T, int kNorm, bool kOwnIsIn>
__device__ void add_tile(const FactorTiles<T>& tiles, const T* ratios, const Place& at, Sums<T>& sums) {
  constexpr int kOthers = kTile<T> / kGroups;
  const auto& own_tile = kOwnIsIn ? tiles.in : tiles.out;
  const auto& other_tile = kOwnIsIn ? tiles.out : tiles.in;
  T own[kPer<T>][kAside];
#pragma unroll
  for (int a = 0; a < kPer<T>; ++a) {
#pragma unroll
    for (int c = 0; c < kAside; ++c) own[a][c] = own_tile[at.column + kAside * c][at.row + kSide * a];
  }
#pragma unroll 4
  for (int i = 0; i < kOthers; ++i) {
    const int other = at.group * kOthers + i;
    T there[kAside], ratio[kPer<T>];
#pragma unroll
    for (int c = 0; c < kAside; ++c) there[c] = other_tile[at.column + kAside * c][other];
#pragma unroll
    for (int a = 0; a < kPer<T>; ++a) ratio[a] = ratios[other * kRatioStride<T, kOwnIsIn> + at.row + kSide * a];
#pragma unroll
    for (int a = 0; a < kPer<T>; ++a) {
#pragma unroll
      for (int c = 0; c < kAside; ++c) sums[a][c] += ratio[a] * slope<kNorm>(own[a][c] - there[c]);
    }
  }
}

// The groups' sums, one after the other, into `sums_XR` of this block's part and head.
template <class T>
__device__ void write_sums(T* shared, const Place& at, const Sums<T>& sums, int64_t first_own, int64_t own_rows,
                           int first_column, int columns, T* sums_XR) {
  __syncthreads();
#pragma unroll
  for (int a = 0; a < kPer<T>; ++a) {
#pragma unroll
    for (int c = 0; c < kAside; ++c) {
      shared[(at.group * kTile<T> + at.row + kSide * a) * kChunk + at.column + kAside * c] = sums[a][c];
    }
  }
  __syncthreads();
  for (int i = thread_number(); i < kTile<T> * kChunk; i += kThreads) {
    const int64_t x = first_own + i / kChunk;
    const int column = first_column + i % kChunk;
    if (x >= own_rows || column >= columns) continue;
    T sum = 0;
    for (int group = 0; group < kGroups; ++group) sum += shared[group * kTile<T> * kChunk + i];
    sums_XR[x * columns + column] = sum;
  }
}

// Gradients of one factor, the own one: a block goes through a part of the other's rows. The sums stay in registers,
// and nothing is added in an order that could change.
template <class T, int kNorm, KeepRule kRule, bool kOwnIsIn>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 4 ? 2 : 1)
    grads_kernel(Factors<T> f, const T* grad_OI, const T* given, T* sums_PHXR) {
  constexpr int kSums = kGroups * kTile<T> * kChunk, kRatios = kTile<T> * kRatioStride<T, kOwnIsIn>;
  __shared__ FactorTiles<T> tiles;
  __shared__ T shared[kSums > kRatios ? kSums : kRatios];  // ratios; in the end the groups' sums
  const int64_t own_rows = kOwnIsIn ? f.in : f.outs, other_rows = kOwnIsIn ? f.outs : f.in;
  const int chunks = (f.columns + kChunk - 1) / kChunk, first_pair = static_cast<int>(blockIdx.z) * kPairs;
  int heads[kPairs], first_columns[kPairs];
#pragma unroll
  for (int p = 0; p < kPairs; ++p) {
    heads[p] = (first_pair + p) / chunks;  // beyond the last head: there is no such pair
    first_columns[p] = (first_pair + p) % chunks * kChunk;
  }
  const T threshold = given == nullptr ? T(0) : *given;
  const Place place;
  Sums<T> sums[kPairs] = {};
  const int64_t first_own = int64_t{blockIdx.x} * kTile<T>, parts = gridDim.y, part = blockIdx.y;
  const int64_t num_tiles = (other_rows + kTile<T> - 1) / kTile<T>;
  for (int64_t tile = part * num_tiles / parts; tile < (part + 1) * num_tiles / parts; ++tile) {
    const int64_t first_in = kOwnIsIn ? first_own : tile * kTile<T>;
    const int64_t first_out = kOwnIsIn ? tile * kTile<T> : first_own;
    Square<T> grad_k, of_pair[kPairs];
    kept_grads<T, kNorm, kRule>(tiles, f, grad_OI, threshold, first_in, first_out, heads, grad_k, of_pair);
#pragma unroll
    for (int p = 0; p < kPairs; ++p) {
      if (heads[p] >= f.heads) break;
      __syncthreads();  // the ratios of before have been read
      store_ratios<T, kNorm, kOwnIsIn>(shared, heads[p], grad_k, of_pair[p]);
      load_tiles(tiles, f, first_in, first_out, heads[p], first_columns[p]);
      add_tile<T, kNorm, kOwnIsIn>(tiles, shared, place, sums[p]);
    }
  }
#pragma unroll
  for (int p = 0; p < kPairs; ++p) {
    if (heads[p] >= f.heads) break;
    write_sums(shared, place, sums[p], first_own, own_rows, first_columns[p], f.columns,
               sums_PHXR + (part * f.heads + heads[p]) * own_rows * f.columns);
  }
}

// Sums of one factor's gradients, [H, X, R].
template <class T, bool kOwnIsIn>
at::Tensor grads_of(const FusedKernel& kernel, const at::Tensor& in, const at::Tensor& out, const at::Tensor& grad_OI,
                    const at::Tensor& threshold) {
  const at::Tensor& own = kOwnIsIn ? in : out;
  const int64_t blocks = blocks_of(own.size(1), kTile<T>),
                other_tiles = blocks_of((kOwnIsIn ? out : in).size(1), kTile<T>);
  const int64_t parts = std::min(other_tiles, std::max<int64_t>(1, kBlocksThatFill / blocks));
  const Factors<T> factors{in.const_data_ptr<T>(),       out.const_data_ptr<T>(),     in.size(1), out.size(1),
                           static_cast<int>(in.size(0)), static_cast<int>(in.size(2))};
  const at::Tensor sums = at::empty({parts, own.size(0), own.size(1), own.size(2)}, own.options());
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(parts),
                  blocks_of(own.size(0) * blocks_of(own.size(2), kChunk), kPairs));
  dispatch(kernel, [&]<int kNorm, KeepRule kRule>() {
    grads_kernel<T, kNorm, kRule, kOwnIsIn><<<grid, dim3(kSide, kSide), 0, at::cuda::getCurrentCUDAStream()>>>(
        factors, grad_OI.const_data_ptr<T>(), threshold.defined() ? threshold.const_data_ptr<T>() : nullptr,
        sums.mutable_data_ptr<T>());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return sums.sum(0);
}

}  // namespace

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
