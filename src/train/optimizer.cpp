#include "snell/train/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>

#include <array>

#include "snell/core/log.h"

namespace snell::train {
namespace {

// What the fused kernels take: lists whose members lie alike in memory.
struct Lists {
  std::vector<at::Tensor> parameters, grads, steps;
  std::array<std::vector<at::Tensor>, 2> state;
};

constexpr std::array<const char*, 2> kAdamNames{"optim/exp_avg/", "optim/exp_avg_sq/"};
constexpr std::array<const char*, 1> kSgdNames{"optim/momentum/"};

// Its shape and type, with the memory of one element.
at::Tensor shape_of(const at::Tensor& tensor) {
  return at::empty({}, tensor.options().device(at::kMeta)).expand(tensor.sizes());
}

bool is_adam(const OptimConfig& config) {
  return config.name == "adamw";
}

}  // namespace

bool decays(const nn::Parameter& parameter) {
  const std::string& name = parameter.name;
  return parameter.tensor.dim() > 1 && !name.ends_with(".bias") && name != "cls_token" && name != "pos_embed" &&
         name.find("relative_position_bias_table") == std::string::npos;
}

Optimizer::Optimizer(nn::Parameters trainable, const OptimConfig& config, std::unique_ptr<const UpdateShare> share)
    : share_(std::move(share)), config_(config), lr_(config.lr) {
  const size_t states = is_adam(config) ? kAdamNames.size() : kSgdNames.size();
  for (nn::Parameter& parameter : trainable) {
    Slot slot{std::move(parameter), false, share_ == nullptr || share_->is_mine(slots_.size()), {}};
    slot.decays = decays(slot.parameter);
    for (size_t i = 0; i < states; ++i) {
      const at::Tensor tensor = slot.parameter.tensor.detach();
      slot.state.push_back(slot.is_mine ? at::zeros_like(tensor, at::MemoryFormat::Preserve) : shape_of(tensor));
    }
    slots_.push_back(std::move(slot));
  }
}

std::unique_ptr<Optimizer> make_optimizer(nn::Parameters trainable, const JobConfig& config,
                                          dist::Communicator& communicator) {
  std::unique_ptr<const UpdateShare> share;
  if (config.dist.shard.optimizer && communicator.size() == 1) {
    core::log_warning("dist.shard_optimizer=true has no effect: one rank keeps all of the optimizer's state");
  } else if (config.dist.shard.optimizer) {
    share = std::make_unique<const UpdateShare>(trainable, communicator);
  }
  return std::make_unique<Optimizer>(std::move(trainable), config.optim, std::move(share));
}

void Optimizer::step() {
  const at::NoGradGuard no_grad;
  ++steps_done_;
  step(/*decayed=*/true);
  step(/*decayed=*/false);
  if (share_) share_->share_updates();
}

void Optimizer::step(bool decayed) {
  Lists lists;
  for (const Slot& slot : slots_) {
    const at::Tensor& parameter = slot.parameter.tensor;
    const at::Tensor grad = parameter.grad();
    if (slot.decays != decayed || !slot.is_mine || !grad.defined()) continue;
    lists.parameters.push_back(parameter);
    // Autograd hands a gradient over in its parameter's layout, wherever that has no gaps.
    lists.grads.push_back(grad.strides() == parameter.strides() ? grad : at::empty_like(parameter).copy_(grad));
    for (size_t i = 0; i < slot.state.size(); ++i) lists.state[i].push_back(slot.state[i]);
  }
  if (lists.parameters.empty()) return;
  const auto count = at::full({}, steps_done_, lists.parameters.front().options().dtype(at::kFloat));
  lists.steps.assign(lists.parameters.size(), count);
  const double decay = decayed ? config_.weight_decay : 0;
  if (is_adam(config_)) {
    at::_fused_adamw_(lists.parameters, lists.grads, lists.state[0], lists.state[1], /*max_exp_avg_sqs=*/{},
                      lists.steps, lr_, config_.betas[0], config_.betas[1], decay, config_.eps, /*amsgrad=*/false,
                      /*maximize=*/false);
  } else {
    if (config_.momentum == 0) lists.state[0].clear();  // the kernel's condition
    at::_fused_sgd_(lists.parameters, lists.grads, lists.state[0], decay, config_.momentum, lr_, /*dampening=*/0,
                    /*nesterov=*/false, /*maximize=*/false, /*is_first_step=*/false);
  }
}

at::Tensor Optimizer::clip(double clip_norm) const {
  std::vector<at::Tensor> grads;
  for (const Slot& slot : slots_) {
    if (slot.parameter.tensor.grad().defined()) grads.push_back(slot.parameter.tensor.grad());
  }
  const at::Tensor total = at::stack(at::_foreach_norm(grads)).norm();
  if (clip_norm > 0) {  // PyTorch's clip_grad_norm_, without asking the device for the number
    at::_foreach_mul_(grads, (clip_norm / (total + 1e-6)).clamp_max_(1.0));
  }
  return total;
}

std::vector<ckpt::TensorRef> Optimizer::state() const {
  std::vector<ckpt::TensorRef> out;
  for (const Slot& slot : slots_) {
    for (size_t i = 0; i < slot.state.size(); ++i) {
      out.push_back({(is_adam(config_) ? kAdamNames[i] : kSgdNames[i]) + slot.parameter.name, slot.state[i]});
    }
  }
  return out;
}

}  // namespace snell::train
