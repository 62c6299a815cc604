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

int norm_of(const FusedKernel& kernel) {
  return kernel.norm_p == 2 ? 2 : 1;
}

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
    const auto data = [](const at::Tensor& t) { return t.is_meta() ? nullptr : t.const_data_ptr<T>(); };
    factors_ = {heads, columns, padded, data(by_column_), data(in_HIP_), data(out_HOP_), in, out_HOR.size(1)};
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
        functions.keep(rule, threshold, base == nullptr ? base : base + at, weight + at, weight + at, area.columns);
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
      functions.keep(rule, threshold, base == nullptr ? base : base + first, weight + first, weight + first,
                     last - first);
    });
    return threshold;
  }
};

// How the matrix is cut for its gradients: along the larger side, into parts that each have sums of their own for the
// smaller side's factor. A function of the shape alone, so that the bits do not depend on the number of threads. As
// many parts as leave these sums at a quarter of the matrix, at most.
struct Parts {
  bool of_rows;  // the out features are cut, else the in features
  int64_t side, unit, units, count;

  Parts(int64_t in, int64_t outs, int64_t rank)
      : of_rows(outs > in),
        side(std::max(in, outs)),
        unit(of_rows ? kTileRows : kTileColumns),
        units((side + unit - 1) / unit),
        count(std::min(units, std::clamp<int64_t>(side / (4 * rank), 4, 32))) {}
  int64_t begin(int64_t part) const { return std::min(part * units / count * unit, side); }

  // Calls f(area) for the areas of a part, one after the other.
  template <class F>
  void for_each_area(int64_t part, int64_t in, int64_t outs, const F& f) const {
    const int64_t first_row = of_rows ? begin(part) : 0, end_row = of_rows ? begin(part + 1) : outs;
    const int64_t first_column = of_rows ? 0 : begin(part), end_column = of_rows ? in : begin(part + 1);
    for (int64_t row = first_row; row < end_row; row += kAreaRows) {
      for (int64_t column = first_column; column < end_column; column += kTileColumns) {
        f(TileArea{row, std::min(kAreaRows, end_row - row), column, std::min(kTileColumns, end_column - column)});
      }
    }
  }
};

template <class T>
FusedGrads factor_grads(const FusedKernel& kernel, const at::Tensor& in_HIR, const at::Tensor& out_HOR,
                        const at::Tensor& grad_OI, const at::Tensor& threshold) {
  const PackedFactors<T> factors(in_HIR, out_HOR);
  const int64_t in = factors->in_features, outs = factors->out_features;
  const Parts parts(in, outs, factors->heads * factors->columns);
  const at::Tensor in_sums = factors.zero_sums(parts.of_rows ? parts.count : 1, true);
  const at::Tensor out_sums = factors.zero_sums(parts.of_rows ? 1 : parts.count, false);
  const auto run = [&] {
    const auto& functions = tile_functions<T>(core::best_instruction_set());
    const T cut = threshold.defined() ? threshold.item<T>() : T(0);
    const T* grad = grad_OI.const_data_ptr<T>();
    at::parallel_for(0, parts.count, 1, [&](int64_t first, int64_t last) {
      for (int64_t part = first; part < last; ++part) {
        const TileSums<T> sums{in_sums.mutable_data_ptr<T>() + (parts.of_rows ? part * in_sums.stride(0) : 0),
                               out_sums.mutable_data_ptr<T>() + (parts.of_rows ? 0 : part * out_sums.stride(0))};
        parts.for_each_area(part, in, outs, [&](const TileArea& area) {
          functions.grads(*factors, norm_of(kernel), kernel.rule, cut, area, grad + area.row * in + area.column, in,
                          sums);
        });
      }
    });
  };
  if (!in_HIR.is_meta()) run();
  const auto total = [&](const at::Tensor& sums) {
    at::Tensor sum = sums[0];
    for (int64_t part = 1; part < sums.size(0); ++part) sum.add_(sums[part]);
    return sum.slice(2, 0, factors->columns).clone(at::MemoryFormat::Contiguous);  // not a view that keeps all parts
  };
  return {total(in_sums), total(out_sums)};
}

}  // namespace

void fused_merge_cpu(const FusedKernel& kernel, FusedMatrix& matrix) {
  const auto type = matrix.in_HIR.scalar_type();
  AT_DISPATCH_FLOATING_TYPES(type, "fused_merge", [&] {
    const PackedFactors<scalar_t> factors(matrix.in_HIR, matrix.out_HOR);
    const bool selects = kernel.rule != KeepRule::kAll && !matrix.threshold.defined();
    if (matrix.in_HIR.is_meta()) {
      if (selects) matrix.threshold = at::empty({}, matrix.in_HIR.options());
      return;
    }
    const MergeTask<scalar_t> task{
        .factors = factors,
        .norm = norm_of(kernel),
        .rule = kernel.rule,
        .base = matrix.base_OI.defined() ? matrix.base_OI.const_data_ptr<scalar_t>() : nullptr,
        .weight = matrix.weight_OI.mutable_data_ptr<scalar_t>()};
    if (selects) {
      matrix.threshold = at::scalar_tensor(task.merge_and_select(matrix.sparsity, type), matrix.in_HIR.options());
    } else {
      task.merge_and_keep(matrix.threshold.defined() ? matrix.threshold.item<scalar_t>() : scalar_t(0));
    }
  });
}

FusedGrads fused_factor_grads_cpu(const FusedKernel& kernel, const at::Tensor& in_HIR, const at::Tensor& out_HOR,
                                  const at::Tensor& grad_OI, const at::Tensor& threshold) {
  return AT_DISPATCH_FLOATING_TYPES(in_HIR.scalar_type(), "fused_factor_grads", [&] {
    return factor_grads<scalar_t>(kernel, in_HIR, out_HOR, grad_OI, threshold);
  });
}

}  // namespace snell::peft
