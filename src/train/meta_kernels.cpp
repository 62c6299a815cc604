// Legend: B batch, H heads (or an image's height), W width, N tokens, E features of a head.
#include "meta_kernels.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

namespace snell::train {
namespace {

using at::IntArrayRef;
using at::Tensor;
using MaybeTensor = const std::optional<Tensor>&;

std::tuple<Tensor, Tensor, Tensor> layer_norm(const Tensor& x, IntArrayRef shape, MaybeTensor, MaybeTensor, double) {
  const Tensor in = x.contiguous();
  Tensor y = at::empty_like(in);
  auto rows = x.sizes().vec();
  for (size_t i = rows.size() - shape.size(); i < rows.size(); ++i) rows[i] = 1;
  return {y, at::empty(rows, in.options()), at::empty(rows, in.options())};
}

std::tuple<Tensor, Tensor, Tensor> layer_norm_backward(const Tensor& grad, const Tensor& x, IntArrayRef, const Tensor&,
                                                       const Tensor&, MaybeTensor weight, MaybeTensor bias,
                                                       std::array<bool, 3> wanted) {
  const Tensor grad_in = grad.contiguous(), in = x.contiguous();
  std::tuple<Tensor, Tensor, Tensor> out;
  if (wanted[0]) std::get<0>(out) = at::empty_like(in);
  if (wanted[1]) std::get<1>(out) = at::empty_like(*weight);
  if (wanted[2]) std::get<2>(out) = at::empty_like(*bias);
  return out;
}

// What oneDNN takes for a weight's gradient, in weights: measured for the backbones' first convolutions.
constexpr int64_t kGradientScratch = 4;

// oneDNN's: channels last where either operand has it, and each operand is brought to that layout.
at::MemoryFormat conv_format(const Tensor& x, const Tensor& weight) {
  const bool last = x.suggest_memory_format() == at::MemoryFormat::ChannelsLast ||
                    weight.suggest_memory_format() == at::MemoryFormat::ChannelsLast;
  return last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

Tensor convolution(const Tensor& x, const Tensor& weight, MaybeTensor, IntArrayRef stride, IntArrayRef padding,
                   IntArrayRef, bool, IntArrayRef, int64_t) {
  const auto format = conv_format(x, weight);
  const Tensor in = x.contiguous(format), kernel = weight.contiguous(format);
  const auto side = [&](size_t i) {
    const auto dim = static_cast<int64_t>(i) + 2;
    const auto of = [i](IntArrayRef both) { return both[both.size() == 1 ? 0 : i]; };
    return (x.size(dim) + 2 * of(padding) - weight.size(dim)) / of(stride) + 1;
  };
  const std::array<int64_t, 4> shape{x.size(0), weight.size(0), side(0), side(1)};
  Tensor blocked = format == at::MemoryFormat::Contiguous ? at::empty(shape, x.options()) : Tensor();
  return at::empty(shape, x.options().memory_format(format));
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(const Tensor& grad, const Tensor& x, const Tensor& weight,
                                                        at::OptionalIntArrayRef bias_sizes, IntArrayRef, IntArrayRef,
                                                        IntArrayRef, bool, IntArrayRef, int64_t,
                                                        std::array<bool, 3> wanted) {
  const auto format = conv_format(x, weight);
  const Tensor grad_in = grad.contiguous(format), in = x.contiguous(format), kernel = weight.contiguous(format);
  std::tuple<Tensor, Tensor, Tensor> out;
  if (wanted[0]) std::get<0>(out) = at::empty_like(in);
  if (wanted[1]) {
    const Tensor scratch = at::empty({kGradientScratch * weight.numel()}, weight.options());
    std::get<1>(out) = at::empty_like(kernel);
  }
  if (wanted[2]) std::get<2>(out) = at::empty(*bias_sizes, weight.options());
  return out;
}

// Output and gradients lie as [B, N, H, E].
Tensor heads_inside(const Tensor& x_BHNE) {
  return at::empty({x_BHNE.size(0), x_BHNE.size(2), x_BHNE.size(1), x_BHNE.size(3)}, x_BHNE.options()).transpose(1, 2);
}

std::tuple<Tensor, Tensor> flash_attention(const Tensor& q, const Tensor&, const Tensor&, double, bool, MaybeTensor,
                                           std::optional<double>) {
  const auto sums = q.options().dtype(at::promote_types(q.scalar_type(), at::kFloat));
  Tensor out = heads_inside(q);
  return {out, at::empty({q.size(0), q.size(2), q.size(1)}, sums).transpose(1, 2)};
}

std::tuple<Tensor, Tensor, Tensor> flash_attention_backward(const Tensor& grad, const Tensor& q, const Tensor& k,
                                                            const Tensor& v, const Tensor&, const Tensor&, double, bool,
                                                            MaybeTensor, std::optional<double>) {
  Tensor grad_q = heads_inside(q), grad_k = heads_inside(k), grad_v = heads_inside(v);
  const Tensor grad_in = grad.contiguous();
  return {grad_q, grad_k, grad_v};
}

// A copy a dimension.
Tensor roll(const Tensor& x, IntArrayRef shifts, IntArrayRef) {
  Tensor out;
  for (size_t i = 0; i < shifts.size(); ++i) out = at::empty(x.sizes(), x.options());
  return out;
}

Tensor index_select(const Tensor& x, int64_t dim, const Tensor& index) {
  auto shape = x.sizes().vec();
  shape.at(static_cast<size_t>(at::maybe_wrap_dim(dim, x.dim()))) = index.numel();
  return at::empty(shape, x.options());
}

Tensor cdist(const Tensor& a, const Tensor& b, double, std::optional<int64_t>) {
  return at::empty({a.size(-2), b.size(-2)}, a.options());
}

Tensor cdist_backward(const Tensor&, const Tensor& a, const Tensor&, double, const Tensor&) {
  return at::empty_like(a, at::MemoryFormat::Contiguous);
}

std::tuple<Tensor, Tensor> var_mean(const Tensor& x, at::OptionalIntArrayRef dims, const std::optional<at::Scalar>&,
                                    bool keep) {
  auto shape = x.sizes().vec();
  TORCH_CHECK(dims && dims->size() == 1 && keep, "var_mean on the meta device: one dimension that stays");
  shape.at(static_cast<size_t>(at::maybe_wrap_dim((*dims)[0], x.dim()))) = 1;
  Tensor variance = at::empty(shape, x.options());
  return {variance, at::empty(shape, x.options())};
}

Tensor abs(const Tensor& x) {
  return at::empty_like(x);
}
Tensor& abs_in_place(Tensor& x) {
  return x;
}
Tensor& nan_to_num(const Tensor&, std::optional<double>, std::optional<double>, std::optional<double>, Tensor& out) {
  return out;  // as the in-place form calls it
}
Tensor& where(const Tensor&, const Tensor&, const Tensor&, Tensor& out) {
  return out;  // as LibTorch's softmax of masked scores calls it
}

void adamw(at::TensorList, at::TensorList, at::TensorList, at::TensorList, at::TensorList, at::TensorList, double,
           double, double, double, double, bool, bool, MaybeTensor, MaybeTensor) {}
void sgd(at::TensorList, at::TensorList, at::TensorList, double, double, double, double, bool, bool, bool, MaybeTensor,
         MaybeTensor) {}

}  // namespace

MetaKernels::MetaKernels() : library_(torch::Library::IMPL, "aten", c10::DispatchKey::Meta, __FILE__, __LINE__) {
  library_.impl("native_layer_norm", TORCH_FN(layer_norm));
  library_.impl("native_layer_norm_backward", TORCH_FN(layer_norm_backward));
  library_.impl("convolution", TORCH_FN(convolution));
  library_.impl("convolution_backward", TORCH_FN(convolution_backward));
  library_.impl("_scaled_dot_product_flash_attention_for_cpu", TORCH_FN(flash_attention));
  library_.impl("_scaled_dot_product_flash_attention_for_cpu_backward", TORCH_FN(flash_attention_backward));
  library_.impl("roll", TORCH_FN(roll));
  library_.impl("index_select", TORCH_FN(index_select));
  library_.impl("_cdist_forward", TORCH_FN(cdist));
  library_.impl("_cdist_backward", TORCH_FN(cdist_backward));
  library_.impl("var_mean.correction", TORCH_FN(var_mean));
  library_.impl("abs", TORCH_FN(abs));
  library_.impl("abs_", TORCH_FN(abs_in_place));
  library_.impl("nan_to_num.out", TORCH_FN(nan_to_num));
  library_.impl("where.self_out", TORCH_FN(where));
  library_.impl("_fused_adamw_", TORCH_FN(adamw));
  library_.impl("_fused_sgd_", TORCH_FN(sgd));
}

}  // namespace snell::train
