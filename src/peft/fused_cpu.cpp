// Cuts the matrix into areas for the threads; the inner loops are in tile_loops.inc.
// Legend: H heads, I in features, O out features, R columns a head, P those padded to whole vectors.
#include "fused_cpu.h"

#include <optional>

#include "bracketed_selection.h"
#include "select_cpu.h"
#include "snell/core/error.h"
#include "tiles.h"

namespace snell::peft {
namespace {

// Rows of an area: enough to use a packed tile again and again, few enough for the area to stay in the cache.
constexpr int64_t kAreaRows = 32;

int64_t tiles_of(int64_t columns) {
  return (columns + kTileColumns - 1) / kTileColumns;
}

// The factors in the arrangements that the inner loops read; owns what it had to copy.
template <class T>
class PackedFactors {
 public:
  PackedFactors(const at::Tensor& in_HIR, const at::Tensor& out_HOR) {
    const int64_t heads = in_HIR.size(0), in = in_HIR.size(1), columns = in_HIR.size(2), tiles = tiles_of(in);
    constexpr auto kLanes = static_cast<int64_t>(16 / sizeof(T));
    const int64_t padded = (columns + kLanes - 1) / kLanes * kLanes;
    const auto rows_first = [&](const at::Tensor& factor_HXR) {
      if (padded == columns) return factor_HXR.contiguous();
      return at::constant_pad_nd(factor_HXR, {0, padded - columns}).contiguous();
    };
    in_HIP_ = rows_first(in_HIR);
    out_HOP_ = rows_first(out_HOR);
    by_column_ = at::constant_pad_nd(in_HIR, {0, 0, 0, tiles * kTileColumns - in})
                     .view({heads, tiles, kTileColumns, columns})
                     .permute({1, 0, 3, 2})
                     .contiguous();
    factors_ = {heads,
                columns,
                padded,
                by_column_.const_data_ptr<T>(),
                in_HIP_.const_data_ptr<T>(),
                out_HOP_.const_data_ptr<T>(),
                in,
                out_HOR.size(1)};
  }
  const TileFactors<T>& operator*() const { return factors_; }
  const TileFactors<T>* operator->() const { return &factors_; }
  at::Tensor zero_sums(int64_t copies, bool of_in) const {
    const at::Tensor& like = of_in ? in_HIP_ : out_HOP_;
    return at::zeros({copies, like.size(0), like.size(1), like.size(2)}, like.options());
  }

 private:
  at::Tensor in_HIP_, out_HOP_, by_column_;
  TileFactors<T> factors_;
};

template <class T>
struct MergeTask {
  const TileFunctions<T>& functions = tile_functions<T>(core::best_instruction_set());
  const PackedFactors<T>& factors;
  int norm;
  KeepRule rule;
  T factor;
  const T* base;
  T* weight;

  // Calls f(area, its first entry) for all areas, over the threads.
  template <class F>
  void for_each_area(const F& f) const {
    const int64_t rows = factors->out_features, in = factors->in_features;
    at::parallel_for(0, (rows + kAreaRows - 1) / kAreaRows, 1, [&](int64_t first, int64_t last) {
      for (int64_t block = first; block < last; ++block) {
        const int64_t row = block * kAreaRows;
        for (int64_t column = 0; column < in; column += kTileColumns) {
          f(TileArea{row, std::min(kAreaRows, rows - row), column, std::min(kTileColumns, in - column)},
            row * in + column);
        }
      }
    });
  }

  void merge_and_keep(T threshold) const {
    const int64_t in = factors->in_features;
    for_each_area([&](const TileArea& area, int64_t at) {
      functions.merge(*factors, norm, area, weight + at, in);
      for (int64_t row = 0; row < area.rows; ++row, at += in) {
        functions.keep(rule, threshold, factor, base == nullptr ? base : base + at, weight + at, weight + at,
                       area.columns);
      }
    });
  }

  T merge_and_select(double sparsity, at::ScalarType dtype) const {
    const int64_t in = factors->in_features, entries = in * factors->out_features;
    const QuantileRank rank = quantile_rank(sparsity, entries, dtype);
    BracketedSelection<T> selection(functions, *factors, norm, rank, entries);
    for_each_area([&](const TileArea& area, int64_t at) {
      functions.merge(*factors, norm, area, weight + at, in);
      for (int64_t row = 0; row < area.rows; ++row, at += in) selection.sift(weight + at, area.columns);
    });
    std::optional<T> found = selection.quantile();
    const T threshold = found ? *found : HostSelection<T>().quantile(weight, entries, rank);
    at::parallel_for(0, entries, 1 << 15, [&](int64_t first, int64_t last) {
      functions.keep(rule, threshold, factor, base == nullptr ? base : base + first, weight + first, weight + first,
                     last - first);
    });
    return threshold;
  }
};

// The larger side is cut into so many parts, each with its own sums of the smaller side's factor, which are added in
// order: a function of the shape alone, so that the bits do not depend on the number of threads. As many as leave these
// sums at a quarter of the matrix, at most.
int64_t parts_of(int64_t larger, int64_t rank) {
  return std::clamp<int64_t>(larger / (4 * rank), 4, 32);
}

template <class T>
FusedGrads factor_grads(const FusedKernel& kernel, const at::Tensor& in_HIR, const at::Tensor& out_HOR,
                        const at::Tensor& grad_OI, T threshold) {
  const PackedFactors<T> factors(in_HIR, out_HOR);
  const auto& functions = tile_functions<T>(core::best_instruction_set());
  const int64_t in = factors->in_features, outs = factors->out_features;
  const bool cut_out = outs > in;
  const int64_t unit = cut_out ? kTileRows : kTileColumns;
  const int64_t units = ((cut_out ? outs : in) + unit - 1) / unit;
  const int64_t parts = std::min(units, parts_of(std::max(in, outs), factors->heads * factors->columns));
  const at::Tensor in_sums = factors.zero_sums(cut_out ? parts : 1, true);
  const at::Tensor out_sums = factors.zero_sums(cut_out ? 1 : parts, false);
  const T* grad = grad_OI.const_data_ptr<T>();
  at::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
    for (int64_t part = first; part < last; ++part) {
      const int64_t begin = part * units / parts * unit,
                    end = std::min((part + 1) * units / parts * unit, cut_out ? outs : in);
      const TileSums<T> sums{in_sums.mutable_data_ptr<T>() + (cut_out ? part * in_sums.stride(0) : 0),
                             out_sums.mutable_data_ptr<T>() + (cut_out ? 0 : part * out_sums.stride(0))};
      const int64_t row_begin = cut_out ? begin : 0, row_end = cut_out ? end : outs;
      const int64_t column_begin = cut_out ? 0 : begin, column_end = cut_out ? in : end;
      for (int64_t row = row_begin; row < row_end; row += kAreaRows) {
        for (int64_t column = column_begin; column < column_end; column += kTileColumns) {
          const TileArea area{row, std::min(kAreaRows, row_end - row), column,
                              std::min(kTileColumns, column_end - column)};
          functions.grads(*factors, kernel.norm_p == 2 ? 2 : 1, kernel.rule, threshold, area, grad + row * in + column,
                          in, sums);
        }
      }
    }
  });
  const auto total = [&](const at::Tensor& sums) {
    at::Tensor sum = sums[0];
    for (int64_t part = 1; part < sums.size(0); ++part) sum.add_(sums[part]);
    return sum.slice(2, 0, factors->columns).contiguous();
  };
  return {total(in_sums), total(out_sums)};
}

}  // namespace

void fused_merge_cpu(const FusedKernel& kernel, FusedMatrix& matrix) {
  const auto type = matrix.in_HIR.scalar_type();
  AT_DISPATCH_FLOATING_TYPES(type, "fused_merge", [&] {
    const PackedFactors<scalar_t> factors(matrix.in_HIR, matrix.out_HOR);
    const MergeTask<scalar_t> task{
        .factors = factors,
        .norm = kernel.norm_p == 2 ? 2 : 1,
        .rule = kernel.rule,
        .factor = static_cast<scalar_t>(matrix.factor),
        .base = matrix.base_OI.defined() ? matrix.base_OI.const_data_ptr<scalar_t>() : nullptr,
        .weight = matrix.weight_OI.mutable_data_ptr<scalar_t>()};
    if (kernel.rule == KeepRule::kAll) {
      task.merge_and_keep(0);
    } else if (matrix.threshold.defined()) {
      task.merge_and_keep(matrix.threshold.item<scalar_t>());
    } else {
      matrix.threshold = at::scalar_tensor(task.merge_and_select(matrix.sparsity, type), matrix.in_HIR.options());
    }
  });
}

FusedGrads fused_factor_grads_cpu(const FusedKernel& kernel, const at::Tensor& in_HIR, const at::Tensor& out_HOR,
                                  const at::Tensor& grad_OI, const at::Tensor& threshold) {
  return AT_DISPATCH_FLOATING_TYPES(in_HIR.scalar_type(), "fused_factor_grads", [&] {
    const scalar_t cut = threshold.defined() ? threshold.item<scalar_t>() : scalar_t(0);
    return factor_grads<scalar_t>(kernel, in_HIR, out_HOR, grad_OI, cut);
  });
}

}  // namespace snell::peft
