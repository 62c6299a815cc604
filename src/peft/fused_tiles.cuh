// What the fused CUDA kernels share: tiles of the two factors in shared memory, and the distances between their rows. A
// block works at square tiles of entries, a thread at kPer x kPer of them in registers, so that a factor's value in
// shared memory serves several entries.
// Legend: H heads, I in features, O out features, R columns a head.
#pragma once

#include "snell/peft/fused.h"

namespace snell::peft {

constexpr int kSide = 16;  // a block is kSide x kSide threads
constexpr int kThreads = kSide * kSide;
// Entries of a thread along each side, and of a block: as many as registers and shared memory allow.
template <class T>
constexpr int kPer = sizeof(T) == 4 ? 4 : 2;
template <class T>
constexpr int kTile = kSide* kPer<T>;
constexpr int kChunk = 16;                // factor columns in shared memory at a time
constexpr int64_t kBlocksThatFill = 264;  // two for each multiprocessor of an H100

// Columns of the factors' rows that belong to a tile; two columns more of a row keep writers off each other's banks.
template <class T>
struct FactorTiles {
  T in[kChunk][kTile<T> + 2], out[kChunk][kTile<T> + 2];
};

inline __device__ int thread_number() {
  return static_cast<int>(threadIdx.y) * kSide + static_cast<int>(threadIdx.x);
}

// One factor's part. Rows beyond the matrix repeat its last one, columns beyond it are 0.
template <class T>
__device__ void load_rows(T (&tile)[kChunk][kTile<T> + 2], const T* factor_XR, int64_t rows, int columns,
                          int64_t first_row, int first_column) {
  static_assert(kChunk == kSide);
  const int64_t first = min(first_row, rows - 1);
  const int last = static_cast<int>(min(rows - 1 - first, int64_t{kTile<T> - 1}));
  const int column = static_cast<int>(threadIdx.x);
  const T* from = factor_XR + first * columns + first_column + column;
  const bool is_there = first_column + column < columns;
#pragma unroll
  for (int a = 0; a < kPer<T>; ++a) {
    const int row = static_cast<int>(threadIdx.y) + kSide * a;
    tile[column][row] = is_there ? from[min(row, last) * columns] : T(0);
  }
}

template <class T>
struct Factors {
  const T *in_HIR, *out_HOR;
  int64_t in, outs;
  int heads, columns;
};

// Both factors' part, for the whole block to see.
template <class T>
__device__ void load_tiles(FactorTiles<T>& tiles, const Factors<T>& f, int64_t first_in, int64_t first_out, int head,
                           int first_column) {
  __syncthreads();  // the values of before have been read
  load_rows(tiles.in, f.in_HIR + head * f.in * f.columns, f.in, f.columns, first_in, first_column);
  load_rows(tiles.out, f.out_HOR + head * f.outs * f.columns, f.outs, f.columns, first_out, first_column);
  __syncthreads();
}

// Distances of one head: of the in rows first_in + threadIdx.x + kSide·a and the out rows first_out + threadIdx.y +
// kSide·b, at [b][a].
template <class T, int kNorm>
__device__ void head_distances(FactorTiles<T>& tiles, const Factors<T>& f, int64_t first_in, int64_t first_out,
                               int head, T (&distance)[kPer<T>][kPer<T>]) {
  T sum[kPer<T>][kPer<T>] = {};
  for (int first = 0; first < f.columns; first += kChunk) {
    load_tiles(tiles, f, first_in, first_out, head, first);
    const int size = min(kChunk, f.columns - first);
#pragma unroll 4
    for (int column = 0; column < size; ++column) {
      T in[kPer<T>], out[kPer<T>];
#pragma unroll
      for (int a = 0; a < kPer<T>; ++a) {
        in[a] = tiles.in[column][threadIdx.x + kSide * a];
        out[a] = tiles.out[column][threadIdx.y + kSide * a];
      }
#pragma unroll
      for (int b = 0; b < kPer<T>; ++b) {
#pragma unroll
        for (int a = 0; a < kPer<T>; ++a) sum[b][a] += distance_term<kNorm>(in[a] - out[b]);
      }
    }
  }
#pragma unroll
  for (int b = 0; b < kPer<T>; ++b) {
#pragma unroll
    for (int a = 0; a < kPer<T>; ++a) distance[b][a] = distance_of_sum<kNorm>(sum[b][a]);
  }
}

template <class T>
__device__ void add_head(int head, const T (&distance)[kPer<T>][kPer<T>], T (&k)[kPer<T>][kPer<T>]) {
#pragma unroll
  for (int b = 0; b < kPer<T>; ++b) {
#pragma unroll
    for (int a = 0; a < kPer<T>; ++a) k[b][a] += kernel_coefficient<T>(head) * distance[b][a];
  }
}

inline unsigned blocks_of(int64_t work, int64_t a_block) {
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

}  // namespace snell::peft
