// The inner loops of the fused CPU kernels, once a instruction set: plain pointers, one thread each. Which set runs is
// decided at run time (tiles.cpp).
// Legend: H heads, I in features, O out features, R columns a head. Matrices are [O, I], as a layer's weight is.
#pragma once

#include <cstdint>

#include "snell/core/instruction_set.h"
#include "snell/peft/kernel_math.h"

namespace snell::peft {

// In features are worked at in tiles of so many: a tile's factors (8 KB at rank 32) stay in the first-level cache.
constexpr int64_t kTileColumns = 64;
// Out features are worked at in groups of so many: what one pass over a tile keeps in registers.
constexpr int64_t kTileRows = 4;
// Kernels of more heads take the ATen road: a tile's distances of all heads are on the stack.
constexpr int64_t kMaxFusedHeads = 8;

// Both factors, packed for the inner loops (see PackedFactors in fused_cpu.cpp).
template <class T>
struct TileFactors {
  int64_t heads, columns;
  int64_t padded_columns;  // columns rounded up to whole vectors; the padding is zero in both factors
  // [I / kTileColumns, H, R, kTileColumns]: columns first, for distances.
  const T* in_by_column;
  const T *in_rows, *out_rows;  // [H, I, padded R], [H, O, padded R]: rows first, for gradients
  int64_t in_features, out_features;
};

// A rectangle of the matrix: rows [row, row + rows), columns [column, column + columns) of which the first begins a
// tile; columns <= kTileColumns.
struct TileArea {
  int64_t row, rows, column, columns;
};

template <class T>
struct TileSums {
  T *in_rows, *out_rows;  // gradients, shaped as the factors' rows
};

// Where an order statistic of the magnitudes is believed to lie: [low, high].
template <class T>
struct Bracket {
  T low, high;
};

template <class T>
struct Sifted {
  int64_t below = 0, not_numbers = 0, num_found = 0;
  T* found = nullptr;
};

template <class T>
struct TileFunctions {
  // K of an area into k, whose rows are `stride` apart.
  void (*merge)(const TileFactors<T>&, int norm, const TileArea&, T* k, int64_t stride);
  // weight = base + K·scale(K), element by element, for `count` of them; `k` may be `weight`; base null: zero.
  void (*keep)(KeepRule, T threshold, const T* base, const T* k, T* weight, int64_t count);
  // |K| of chosen entries: of (in_rows[e], out_rows[e]) for each of `count`.
  void (*sample)(const TileFactors<T>&, int norm, const int32_t* in_rows, const int32_t* out_rows, T* magnitudes,
                 int64_t count);
  // Counts the magnitudes below the bracket and copies those within it, in their order. `found` has room for all.
  void (*sift)(const Bracket<T>& bracket, const T* k, int64_t count, Sifted<T>& sifted);
  // Adds the gradients of an area's factors, from grad = dL/dΔW.
  void (*grads)(const TileFactors<T>&, int norm, KeepRule, T threshold, const TileArea&, const T* grad, int64_t stride,
                const TileSums<T>&);
};

template <class T>
const TileFunctions<T>& tile_functions(core::InstructionSet set);

namespace portable {
extern const TileFunctions<float> kFloat;
extern const TileFunctions<double> kDouble;
}  // namespace portable
namespace avx2 {
extern const TileFunctions<float> kFloat;
extern const TileFunctions<double> kDouble;
}  // namespace avx2

}  // namespace snell::peft
