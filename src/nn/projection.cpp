// Plain projection groups. Legend: B batch, I in features, O out features.
#include "snell/nn/projection.h"

#include <torch/csrc/autograd/custom_function.h>

#include "snell/nn/frozen_matrix.h"

namespace snell::nn {
namespace {

Parameters weight_and_bias(const ProjectionSpec& spec, const at::Tensor& weight, const at::Tensor& bias) {
  Parameters out{{spec.path + ".weight", weight}};
  if (bias.defined()) out.push_back({spec.path + ".bias", bias});
  return out;
}

class TrainableLinear : public ProjectionGroup {
 public:
  TrainableLinear(const ProjectionSpec& spec, const TensorPlace& place)
      : spec_(spec), weight_OI_(at::zeros({spec.out_features, spec.in_features}, place.trainable_options())) {
    weight_OI_.requires_grad_(true);
    if (spec.bias) bias_O_ = at::zeros({spec.out_features}, place.trainable_options()).requires_grad_(true);
  }
  at::Tensor forward(const at::Tensor& x, const core::StepContext&, const Prologue& prologue) const override {
    return at::linear(prologue(x), in_type_of(x, weight_OI_), in_type_of(x, bias_O_));
  }
  Parameters published() const override { return weight_and_bias(spec_, weight_OI_, bias_O_); }

 private:
  ProjectionSpec spec_;
  at::Tensor weight_OI_, bias_O_;
};

// Keeps the handle alive between forward and backward.
struct HandleHolder : torch::CustomClassHolder {
  explicit HandleHolder(std::shared_ptr<const core::FrozenWeight> h) : handle(std::move(h)) {}
  std::shared_ptr<const core::FrozenWeight> handle;
};

// y = x·Wᵀ + b that stores nothing: the backward pass needs only W, which it acquires anew.
class FrozenLinearFunction : public torch::autograd::Function<FrozenLinearFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x,
                            const c10::intrusive_ptr<HandleHolder>& holder, const std::optional<at::Tensor>& bias_O) {
    ctx->saved_data["weight"] = c10::IValue::make_capsule(holder);
    at::Tensor y = at::linear(x, holder->handle->acquire(), bias_O);
    holder->handle->release();
    return y;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    auto holder = c10::static_intrusive_pointer_cast<HandleHolder>(ctx->saved_data["weight"].toCapsule());
    at::Tensor grad_x = at::matmul(grads[0], holder->handle->acquire());
    holder->handle->release();
    return {grad_x, at::Tensor(), at::Tensor()};
  }
};

class FrozenLinear : public ProjectionGroup {
 public:
  FrozenLinear(const ProjectionSpec& spec, const TensorPlace& place)
      : spec_(spec),
        weight_(make_frozen_matrix(spec, place)),
        holder_(c10::make_intrusive<HandleHolder>(weight_.weight)) {
    if (spec.bias) bias_O_ = at::zeros({spec.out_features}, place.options());
  }
  at::Tensor forward(const at::Tensor& x, const core::StepContext&, const Prologue& prologue) const override {
    // An undefined tensor would be taken for one that autograd should follow.
    return FrozenLinearFunction::apply(prologue(x), holder_, bias_O_.defined() ? std::optional(bias_O_) : std::nullopt);
  }
  Parameters published() const override { return weight_and_bias(spec_, weight_.published_OI, bias_O_); }

 private:
  ProjectionSpec spec_;
  FrozenMatrix weight_;
  at::Tensor bias_O_;
  c10::intrusive_ptr<HandleHolder> holder_;
};

}  // namespace

std::unique_ptr<ProjectionGroup> LinearFactory::make(const ProjectionSpec& spec, const TensorPlace& place) const {
  if (trainable_) return std::make_unique<TrainableLinear>(spec, place);
  return std::make_unique<FrozenLinear>(spec, place);
}

}  // namespace snell::nn
