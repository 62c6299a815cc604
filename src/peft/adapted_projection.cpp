// Legend: T rows (batch × tokens), I in features, O out features, S out features of one slice.
#include "snell/peft/adapted_projection.h"

#include "snell/nn/masks.h"
#include "snell/nn/plain_frozen_weight.h"

namespace snell::peft {

struct AdaptedProjection::State {
  nn::ProjectionSpec spec;
  at::Tensor weight_OI, bias_O;  // storage that loading writes; computing goes through `frozen`
  std::shared_ptr<const core::FrozenWeight> frozen;
  std::vector<AdaptedSlice> slices;
  AdapterNoise noise;
};

namespace {

using State = AdaptedProjection::State;

// What one call keeps between forward and backward besides its input.
struct Call : torch::CustomClassHolder {
  std::shared_ptr<const State> state;
  core::StepContext context;
  std::vector<at::Tensor> kept;  // one a slice, see Branch::forward

  bool drops_input() const { return context.training && state->noise.dropout > 0 && state->spec.adapter_dropout; }
  at::Tensor input_factors(const at::Tensor& x) const {
    return nn::dropout_factors(x, state->noise.dropout, context, core::Purpose::kAdapterDropout, state->spec.layer);
  }
  bool drops_path() const { return context.training && state->noise.drop_path > 0; }
  at::Tensor path_factors(const at::Tensor& y, size_t slice) const {
    return nn::drop_path_factors(y, state->noise.drop_path, context, core::Purpose::kAdapterDropPath,
                                 4 * state->spec.layer + static_cast<uint32_t>(slice));
  }
};

at::Tensor rows(const at::Tensor& x) {
  return x.reshape({-1, x.size(-1)});
}

class AdaptedLinear : public torch::autograd::Function<AdaptedLinear> {
 public:
  // `factors` are listed so that autograd sees them; the branches read the same tensors.
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x, at::TensorList factors,
                            const c10::intrusive_ptr<Call>& call) {
    (void)factors;
    const State& state = *call->state;
    at::Tensor y = at::linear(x, state.frozen->acquire(), state.bias_O);
    state.frozen->release();
    const at::Tensor x_TI = rows(call->drops_input() ? x * call->input_factors(x) : x);
    at::Tensor y_TO = y.view({-1, y.size(-1)});
    for (size_t i = 0; i < state.slices.size(); ++i) {
      const AdaptedSlice& slice = state.slices[i];
      at::Tensor& kept = call->kept.emplace_back();
      if (call->drops_path()) {
        at::Tensor added = slice.branch->forward(x_TI, kept).view_as(y.slice(-1, slice.begin, slice.end));
        y.slice(-1, slice.begin, slice.end).add_(added.mul_(call->path_factors(y, i)));
      } else {
        slice.branch->add_to(y_TO.slice(1, slice.begin, slice.end), x_TI, kept);
      }
    }
    ctx->save_for_backward({x});
    ctx->saved_data["call"] = c10::IValue::make_capsule(call);
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const auto call = c10::static_intrusive_pointer_cast<Call>(ctx->saved_data["call"].toCapsule());
    const State& state = *call->state;
    const at::Tensor x = ctx->get_saved_variables()[0];
    const at::Tensor grad_y = grads[0];
    const at::Tensor input_factors = call->drops_input() ? call->input_factors(x) : at::Tensor();
    const at::Tensor x_TI = rows(input_factors.defined() ? x * input_factors : x);
    const bool needs_dx = ctx->needs_input_grad(0);
    at::Tensor grad_adapter_TI = needs_dx ? at::zeros_like(x_TI) : at::Tensor();

    torch::autograd::variable_list out(1);
    for (size_t i = 0; i < state.slices.size(); ++i) {
      const AdaptedSlice& slice = state.slices[i];
      at::Tensor grad_slice = grad_y.slice(-1, slice.begin, slice.end);
      if (call->drops_path()) grad_slice = grad_slice * call->path_factors(grad_y, i);
      const at::Tensor grad_TS = rows(grad_slice);
      const auto grads = slice.branch->backward(x_TI, grad_TS, call->kept[i], grad_adapter_TI);
      for (size_t f = 0; f < grads.size(); ++f) {
        out.push_back(nn::in_type_of(slice.branch->factors()[f].tensor, grads[f]));
      }
    }
    if (needs_dx) {
      at::Tensor grad_adapter = grad_adapter_TI.view_as(x);
      if (input_factors.defined()) grad_adapter.mul_(input_factors);
      out[0] = at::matmul(grad_y, state.frozen->acquire()).add_(grad_adapter);
      state.frozen->release();
    }
    out.emplace_back();  // the call
    return out;
  }
};

}  // namespace

AdaptedProjection::AdaptedProjection(const nn::ProjectionSpec& spec, std::vector<AdaptedSlice> slices,
                                     const AdapterNoise& noise, const nn::TensorPlace& place) {
  auto state = std::make_shared<State>();
  state->spec = spec;
  state->weight_OI = at::zeros({spec.out_features, spec.in_features}, place.options());
  if (spec.bias) state->bias_O = at::zeros({spec.out_features}, place.options());
  state->frozen = std::make_shared<nn::PlainFrozenWeight>(state->weight_OI);
  state->slices = std::move(slices);
  state->noise = noise;
  state_ = std::move(state);
}

at::Tensor AdaptedProjection::forward(const at::Tensor& x, const core::StepContext& context) const {
  auto call = c10::make_intrusive<Call>();
  call->state = state_;
  call->context = context;
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
