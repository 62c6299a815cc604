// Legend: T rows (batch × tokens), I in features, O out features, S out features of one slice.
#include "snell/peft/adapted_projection.h"

#include <torch/csrc/autograd/custom_function.h>

#include "snell/nn/frozen_matrix.h"
#include "snell/nn/masks.h"

namespace snell::peft {

struct AdaptedProjection::State {
  nn::ProjectionSpec spec;
  at::Tensor weight_OI, bias_O;  // as published; computing goes through `frozen`
  std::shared_ptr<const core::FrozenWeight> frozen;
  std::vector<AdaptedSlice> slices;
  AdapterNoise noise;
  KeepsDelta keeps_delta;
  bool covered = false;  // every output feature belongs to a slice
};

namespace {

using State = AdaptedProjection::State;

at::Tensor rows(const at::Tensor& x) {
  return x.reshape({-1, x.size(-1)});
}

// One call of a group, and what it keeps between forward and backward besides its input.
struct Call : torch::CustomClassHolder {
  std::shared_ptr<const State> state;
  core::StepContext context;
  nn::Prologue prologue;
  std::vector<Kept> kept;  // one a slice
  at::Tensor merged_OI;    // of the merged road, where it is kept

  bool drops_input() const { return context.training && state->noise.dropout > 0 && state->spec.adapter_dropout; }
  bool drops_path() const { return context.training && state->noise.drop_path > 0; }
  at::Tensor dropped(const at::Tensor& x) const {
    return drops_input()
               ? nn::dropout(x, state->noise.dropout, context, core::Purpose::kAdapterDropout, state->spec.layer)
               : x;
  }
  at::Tensor path_factors(const at::Tensor& y, size_t slice) const {
    return nn::drop_path_factors(y, state->noise.drop_path, context, core::Purpose::kAdapterDropPath,
                                 4 * state->spec.layer + static_cast<uint32_t>(slice));
  }
  bool is_merged(const at::Tensor& x) const {
    return !drops_input() && !drops_path() && x.element_size() >= 4 &&
           std::ranges::all_of(state->slices, [](const auto& slice) { return slice.branch->merges_into_weight(); });
  }
};

// --- one GEMM with W0 + ΔWᵀ ---

// All slices at once, where they have one kernel (on CUDA: one launch for q, k and v); false where they have not.
bool merge_together(Call& call, const at::Tensor& frozen_OI, const at::Tensor& merged_OI) {
  std::vector<FusedMatrix> matrices;
  std::optional<FusedKernel> kernel;
  for (size_t i = 0; i < call.state->slices.size(); ++i) {
    const auto& [begin, end, branch] = call.state->slices[i];
    auto job = branch->merge_job(merged_OI.slice(0, begin, end), frozen_OI.slice(0, begin, end), call.kept[i]);
    if (!job || (kernel && *kernel != job->kernel)) return false;
    kernel = job->kernel;
    matrices.push_back(std::move(job->matrix));
  }
  fused_merge(*kernel, matrices);
  for (size_t i = 0; i < matrices.size(); ++i) call.kept[i].threshold = matrices[i].threshold;
  return true;
}

at::Tensor merged_weight(Call& call) {
  const State& state = *call.state;
  const at::Tensor frozen_OI = state.frozen->acquire();
  at::Tensor merged_OI = state.covered ? at::empty_like(frozen_OI) : frozen_OI.clone();
  if (!merge_together(call, frozen_OI, merged_OI)) {
    for (size_t i = 0; i < state.slices.size(); ++i) {
      const auto& [begin, end, branch] = state.slices[i];
      branch->merge_into(merged_OI.slice(0, begin, end), frozen_OI.slice(0, begin, end), call.kept[i]);
    }
  }
  state.frozen->release();
  return merged_OI;
}

at::Tensor merged_bias(const State& state) {
  at::Tensor bias_O = state.bias_O;
  for (const auto& [begin, end, branch] : state.slices) {
    const at::Tensor added_S = branch->bias();
    if (!added_S.defined()) continue;
    // Not in place: the published bias stays what it is.
    bias_O = bias_O.defined() ? (bias_O.is_same(state.bias_O) ? bias_O.clone() : bias_O)
                              : at::zeros({state.spec.out_features}, added_S.options());
    bias_O.slice(0, begin, end).add_(added_S);
  }
  return bias_O;
}

at::Tensor forward_merged(Call& call, const at::Tensor& x) {
  const at::Tensor merged_OI = merged_weight(call);
  if (*call.state->keeps_delta) call.merged_OI = merged_OI;
  return at::linear(x, merged_OI, merged_bias(*call.state));
}

// Gradients of all factors in order; `grad_x` is filled where it is wanted.
std::vector<at::Tensor> backward_merged(Call& call, const at::Tensor& x, const at::Tensor& grad_y, bool wants_grad_x,
                                        at::Tensor& grad_x) {
  const State& state = *call.state;
  const at::Tensor x_TI = rows(x), grad_TO = rows(grad_y);
  at::Tensor weight_OI = std::move(call.merged_OI);
  if (wants_grad_x) {
    if (!weight_OI.defined()) weight_OI = merged_weight(call);
    grad_x = grad_TO.mm(weight_OI).view_as(x);
  }
  const bool wants_weight_grad = state.slices.front().branch->wants_weight_grad();
  // The weight is done with: its gradient takes its place.
  if (wants_weight_grad && !weight_OI.defined()) {
    weight_OI = at::empty({state.spec.out_features, state.spec.in_features}, x.options());
  }
  if (wants_weight_grad && state.covered) at::mm_out(weight_OI, grad_TO.t(), x_TI);
  std::vector<at::Tensor> out;
  for (size_t i = 0; i < state.slices.size(); ++i) {
    const auto& [begin, end, branch] = state.slices[i];
    const at::Tensor grad_TS = grad_TO.slice(1, begin, end);
    std::vector<at::Tensor> grads;
    if (wants_weight_grad) {
      at::Tensor grad_SI = weight_OI.slice(0, begin, end);
      if (!state.covered) at::mm_out(grad_SI, grad_TS.t(), x_TI);
      grads = branch->weight_backward(grad_SI, call.kept[i]);
    } else {
      grads = branch->backward(x_TI, grad_TS, call.kept[i], {});
    }
    out.insert(out.end(), grads.begin(), grads.end());
  }
  return out;
}

// --- two branches: noise on the second ---

at::Tensor forward_apart(Call& call, const at::Tensor& x) {
  const State& state = *call.state;
  at::Tensor y = at::linear(x, state.frozen->acquire(), state.bias_O);
  state.frozen->release();
  const at::Tensor x_TI = rows(call.dropped(x));
  at::Tensor y_TO = y.view({-1, y.size(-1)});
  for (size_t i = 0; i < state.slices.size(); ++i) {
    const auto& [begin, end, branch] = state.slices[i];
    call.kept[i].keeps_delta = *state.keeps_delta;
    if (call.drops_path()) {
      at::Tensor added = branch->forward(x_TI, call.kept[i]).view_as(y.slice(-1, begin, end));
      y.slice(-1, begin, end).addcmul_(added, call.path_factors(y, i));
    } else {
      branch->add_to(y_TO.slice(1, begin, end), x_TI, call.kept[i]);
    }
  }
  return y;
}

std::vector<at::Tensor> backward_apart(Call& call, const at::Tensor& x, const at::Tensor& grad_y, bool wants_grad_x,
                                       at::Tensor& grad_x) {
  const State& state = *call.state;
  const at::Tensor x_TI = rows(call.dropped(x));
  at::Tensor grad_adapter_TI = wants_grad_x ? at::zeros_like(x_TI) : at::Tensor();
  std::vector<at::Tensor> out;
  for (size_t i = 0; i < state.slices.size(); ++i) {
    const auto& [begin, end, branch] = state.slices[i];
    at::Tensor grad_slice = grad_y.slice(-1, begin, end);
    if (call.drops_path()) grad_slice = grad_slice * call.path_factors(grad_y, i);
    const auto grads = branch->backward(x_TI, rows(grad_slice), call.kept[i], grad_adapter_TI);
    call.kept[i].delta_SI.reset();
    out.insert(out.end(), grads.begin(), grads.end());
  }
  if (wants_grad_x) {
    grad_x = call.dropped(grad_adapter_TI.view_as(x));  // the same factors
    rows(grad_x).addmm_(rows(grad_y), state.frozen->acquire());
    state.frozen->release();
  }
  return out;
}

class AdaptedLinear : public torch::autograd::Function<AdaptedLinear> {
 public:
  // `factors` are listed so that autograd sees them; the branches read the same tensors.
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x, at::TensorList factors,
                            const c10::intrusive_ptr<Call>& call) {
    (void)factors;
    const at::Tensor input = call->prologue.forward(x).y;
    call->kept.resize(call->state->slices.size());
    ctx->save_for_backward({x});
    ctx->saved_data["call"] = c10::IValue::make_capsule(call);
    return call->is_merged(input) ? forward_merged(*call, input) : forward_apart(*call, input);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const auto call = c10::static_intrusive_pointer_cast<Call>(ctx->saved_data["call"].toCapsule());
    const at::Tensor x = ctx->get_saved_variables()[0];
    const nn::Prologue::Result input = call->prologue.forward(x);
    const bool wants_grad_x = ctx->needs_input_grad(0);
    at::Tensor grad_input;
    const auto backward_of = call->is_merged(input.y) ? backward_merged : backward_apart;
    const auto factor_grads = backward_of(*call, input.y, grads[0], wants_grad_x, grad_input);

    torch::autograd::variable_list out(1);
    if (wants_grad_x) out[0] = call->prologue.backward(grad_input, x, input);
    size_t at = 0;
    for (const auto& slice : call->state->slices) {
      for (const auto& factor : slice.branch->factors()) {
        out.push_back(nn::in_type_of(factor.tensor, factor_grads[at++]));
      }
    }
    out.emplace_back();  // the call
    return out;
  }
};

}  // namespace

AdaptedProjection::AdaptedProjection(const nn::ProjectionSpec& spec, std::vector<AdaptedSlice> slices,
                                     const AdapterNoise& noise, const nn::TensorPlace& place, KeepsDelta keeps_delta) {
  auto state = std::make_shared<State>();
  state->spec = spec;
  nn::FrozenMatrix matrix = nn::make_frozen_matrix(spec, place);
  state->weight_OI = std::move(matrix.published_OI);
  state->frozen = std::move(matrix.weight);
  if (spec.bias) state->bias_O = at::zeros({spec.out_features}, place.options());
  int64_t covered = 0;
  for (const auto& slice : slices) covered += slice.end - slice.begin;
  state->covered = covered == spec.out_features;
  state->slices = std::move(slices);
  state->noise = noise;
  state->keeps_delta = std::move(keeps_delta);
  state_ = std::move(state);
}

at::Tensor AdaptedProjection::forward(const at::Tensor& x, const core::StepContext& context,
                                      const nn::Prologue& prologue) const {
  if (prologue.trains()) return forward(prologue(x), context);  // its gradients are autograd's
  auto call = c10::make_intrusive<Call>();
  call->state = state_;
  call->context = context;
  call->prologue = prologue;
  std::vector<at::Tensor> factors;
  for (const auto& slice : state_->slices) {
    for (const auto& factor : slice.branch->factors()) factors.push_back(factor.tensor);
  }
  return AdaptedLinear::apply(x, at::TensorList(factors), call);
}

nn::Parameters AdaptedProjection::published() const {
  nn::Parameters out{{state_->spec.path + ".weight", state_->weight_OI}};
  if (state_->bias_O.defined()) out.push_back({state_->spec.path + ".bias", state_->bias_O});
  return out;
}

nn::Parameters AdaptedProjection::adapters() const {
  nn::Parameters out;
  for (const auto& slice : state_->slices) {
    const auto& factors = slice.branch->factors();
    out.insert(out.end(), factors.begin(), factors.end());
  }
  return out;
}

}  // namespace snell::peft
