#include "snell/train/optimizer.h"

#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>

namespace snell::train {
namespace {

using torch::optim::AdamWOptions;
using torch::optim::AdamWParamState;
using torch::optim::SGDOptions;
using torch::optim::SGDParamState;

template <class Options>
std::vector<torch::optim::OptimizerParamGroup> decay_groups(const nn::Parameters& trainable, const Options& base,
                                                            double weight_decay) {
  std::vector<at::Tensor> decayed, plain;
  for (const auto& parameter : trainable) (decays(parameter) ? decayed : plain).push_back(parameter.tensor);
  std::vector<torch::optim::OptimizerParamGroup> groups;
  for (auto& [tensors, decay] : {std::pair{decayed, weight_decay}, std::pair{plain, 0.0}}) {
    auto options = std::make_unique<Options>(base);
    options->weight_decay(decay);
    groups.emplace_back(tensors, std::move(options));
  }
  return groups;
}

at::Tensor zeros_of(const at::Tensor& parameter) {
  return at::zeros_like(parameter.detach(), at::MemoryFormat::Preserve);
}

// LibTorch makes its state at the first step; made here, it can be saved and loaded at any time.
std::unique_ptr<torch::optim::Optimizer> make_adamw(const nn::Parameters& trainable, const OptimConfig& config) {
  const auto base = AdamWOptions(config.lr).betas({config.betas[0], config.betas[1]}).eps(config.eps);
  auto optimizer = std::make_unique<torch::optim::AdamW>(decay_groups(trainable, base, config.weight_decay), base);
  for (const auto& parameter : trainable) {
    auto state = std::make_unique<AdamWParamState>();
    state->step(0);
    state->exp_avg(zeros_of(parameter.tensor));
    state->exp_avg_sq(zeros_of(parameter.tensor));
    optimizer->state()[parameter.tensor.unsafeGetTensorImpl()] = std::move(state);
  }
  return optimizer;
}

std::unique_ptr<torch::optim::Optimizer> make_sgd(const nn::Parameters& trainable, const OptimConfig& config) {
  const auto base = SGDOptions(config.lr).momentum(config.momentum);
  auto optimizer = std::make_unique<torch::optim::SGD>(decay_groups(trainable, base, config.weight_decay), base);
  for (const auto& parameter : trainable) {
    auto state = std::make_unique<SGDParamState>();
    state->momentum_buffer(zeros_of(parameter.tensor));
    optimizer->state()[parameter.tensor.unsafeGetTensorImpl()] = std::move(state);
  }
  return optimizer;
}

}  // namespace

bool decays(const nn::Parameter& parameter) {
  const std::string& name = parameter.name;
  return parameter.tensor.dim() > 1 && !name.ends_with(".bias") && name != "cls_token" && name != "pos_embed" &&
         name.find("relative_position_bias_table") == std::string::npos;
}

Optimizer::Optimizer(nn::Parameters trainable, const OptimConfig& config)
    : trainable_(std::move(trainable)),
      optimizer_(config.name == "adamw" ? make_adamw(trainable_, config) : make_sgd(trainable_, config)),
      adam_(config.name == "adamw") {}

Optimizer::~Optimizer() = default;

void Optimizer::set_learning_rate(double lr) {
  for (auto& group : optimizer_->param_groups()) group.options().set_lr(lr);
}

void Optimizer::step() {
  optimizer_->step();
}

at::Tensor Optimizer::clip(double clip_norm) const {
  std::vector<at::Tensor> norms;
  for (const auto& parameter : trainable_) {
    if (parameter.tensor.grad().defined()) norms.push_back(parameter.tensor.grad().norm());
  }
  const at::Tensor total = at::stack(norms).norm();
  if (clip_norm > 0) {  // PyTorch's clip_grad_norm_, without asking the device for the number
    const at::Tensor scale = (clip_norm / (total + 1e-6)).clamp_max_(1.0);
    for (const auto& parameter : trainable_) {
      if (parameter.tensor.grad().defined()) parameter.tensor.mutable_grad().mul_(scale);
    }
  }
  return total;
}

std::vector<ckpt::TensorRef> Optimizer::state() const {
  std::vector<ckpt::TensorRef> out;
  for (const auto& [name, tensor] : trainable_) {
    auto& raw = *optimizer_->state().at(tensor.unsafeGetTensorImpl());
    if (adam_) {
      auto& state = static_cast<AdamWParamState&>(raw);
      out.push_back({"optim/exp_avg/" + name, state.exp_avg()});
      out.push_back({"optim/exp_avg_sq/" + name, state.exp_avg_sq()});
    } else {
      out.push_back({"optim/momentum/" + name, static_cast<SGDParamState&>(raw).momentum_buffer()});
    }
  }
  return out;
}

void Optimizer::set_steps_done(int64_t steps) {
  if (!adam_) return;
  for (const auto& parameter : trainable_) {
    static_cast<AdamWParamState&>(*optimizer_->state().at(parameter.tensor.unsafeGetTensorImpl())).step(steps);
  }
}

}  // namespace snell::train
