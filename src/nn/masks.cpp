#include "snell/nn/masks.h"

#include <ATen/record_function.h>

#include <array>

#include "dropout_loops.h"
#include "snell/core/error.h"
#include "snell/core/instruction_set.h"

namespace snell::nn {
namespace {

template <class T>
void fill_sample(T* out, int64_t count, float p, T kept, core::StreamKey key) {
  for (int64_t base = 0; base < count; base += 4) {
    const core::Philox4 draws = core::draw_block(key, static_cast<uint32_t>(base / 4));
    const int64_t end = std::min<int64_t>(4, count - base);
    for (int64_t i = 0; i < end; ++i) out[base + i] = keeps(draws.v[i], p) ? kept : T(0);
  }
}

void fill(at::Tensor& out, int64_t batch, int64_t per_sample, double p, const core::StepContext& context,
          core::Purpose purpose, uint32_t layer) {
  core::check(p >= 0 && p < 1, core::str("a dropout rate must lie in [0, 1), got ", p));
  if (out.is_meta()) return;  // shapes alone (snell plan)
  if (out.is_cuda()) {
#ifdef SNELL_WITH_CUDA
    return fill_dropout_factors_cuda(out, batch, per_sample, p, context, purpose, layer);
#else
    throw core::Error("a CUDA tensor in a build without CUDA");
#endif
  }
  const auto key_of = [&](int64_t b) {
    return core::StreamKey{context.seed, purpose, context.step, context.first_slot + static_cast<uint32_t>(b), layer};
  };
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, out.scalar_type(), "dropout_factors", [&] {
    auto* data = out.mutable_data_ptr<scalar_t>();
    const auto kept = static_cast<scalar_t>(1.0 / (1.0 - p));
    at::parallel_for(0, batch, 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        fill_sample(data + b * per_sample, per_sample, static_cast<float>(p), kept, key_of(b));
      }
    });
  });
}

}  // namespace

at::Tensor dropout_factors(const at::Tensor& like, double p, const core::StepContext& context, core::Purpose purpose,
                           uint32_t layer) {
  at::Tensor out =
      at::empty(like.sizes(), like.options().requires_grad(false).memory_format(at::MemoryFormat::Contiguous));
  const int64_t batch = like.size(0);
  fill(out, batch, batch == 0 ? 0 : like.numel() / batch, p, context, purpose, layer);
  return out;
}

at::Tensor dropout(const at::Tensor& x, double p, const core::StepContext& context, core::Purpose purpose,
                   uint32_t layer) {
  const std::array<c10::IValue, 1> inputs{x};
  RECORD_FUNCTION("snell::dropout", inputs);  // for profilers, and `snell plan`
  const bool own_loops = x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble);
  if (!own_loops) return dropout_factors(x, p, context, purpose, layer).mul_(x);
  core::check(p >= 0 && p < 1, core::str("a dropout rate must lie in [0, 1), got ", p));
  const at::Tensor from = x.contiguous();
  at::Tensor out = at::empty_like(from);
  const int64_t batch = x.size(0), per_sample = batch == 0 ? 0 : x.numel() / batch;
  // A sample is cut at multiples of 4: a block of draws is never shared.
  constexpr int64_t kPiece = 1 << 14;
  const int64_t pieces = (per_sample + kPiece - 1) / kPiece;
  const auto run = [&]<class T>(DropoutFunction<T> drop) {
    const T* in = from.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    at::parallel_for(0, batch * pieces, 4, [&](int64_t begin, int64_t end) {
      for (int64_t piece = begin; piece < end; ++piece) {
        const int64_t sample = piece / pieces, first = piece % pieces * kPiece, at = sample * per_sample + first;
        const core::StreamKey key{context.seed, purpose, context.step,
                                  context.first_slot + static_cast<uint32_t>(sample), layer};
        drop(key, static_cast<float>(p), static_cast<T>(1.0 / (1.0 - p)), in + at, to + at, first,
             std::min(kPiece, per_sample - first));
      }
    });
  };
  const bool avx2 = core::best_instruction_set() == core::InstructionSet::kAvx2;
  const DropoutFunctions& loops = avx2 ? avx2::kFunctions : portable::kFunctions;
  x.scalar_type() == at::kFloat ? run(loops.of_float) : run(loops.of_double);
  return out;
}

at::Tensor drop_path_factors(const at::Tensor& like, double p, const core::StepContext& context, core::Purpose purpose,
                             uint32_t layer) {
  std::vector<int64_t> shape(like.dim(), 1);
  shape[0] = like.size(0);
  at::Tensor out = at::empty(shape, like.options().requires_grad(false));
  fill(out, like.size(0), 1, p, context, purpose, layer);
  return out;
}

}  // namespace snell::nn
