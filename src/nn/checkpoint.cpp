#include "snell/nn/checkpoint.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace snell::nn {
namespace {

struct BlockHolder : torch::CustomClassHolder {
  explicit BlockHolder(BlockFunction f) : function(std::move(f)) {}
  BlockFunction function;
};

class CheckpointedBlock : public torch::autograd::Function<CheckpointedBlock> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x, at::TensorList trainables,
                            const c10::intrusive_ptr<BlockHolder>& block) {
    torch::autograd::variable_list saved{x};
    saved.insert(saved.end(), trainables.begin(), trainables.end());
    ctx->save_for_backward(std::move(saved));
    ctx->saved_data["block"] = c10::IValue::make_capsule(block);
    return block->function(x);  // records nothing here
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    const auto block = c10::static_intrusive_pointer_cast<BlockHolder>(ctx->saved_data["block"].toCapsule());
    const auto saved = ctx->get_saved_variables();
    const bool needs_dx = ctx->needs_input_grad(0);
    const at::AutoGradMode record(true);
    const at::Tensor x = saved[0].detach().requires_grad_(needs_dx);
    torch::autograd::variable_list inputs(saved.begin() + 1, saved.end());
    if (needs_dx) inputs.push_back(x);
    torch::autograd::variable_list out(1);
    if (!inputs.empty()) {
      auto found = torch::autograd::grad({block->function(x)}, inputs, grads, /*retain_graph=*/std::nullopt,
                                         /*create_graph=*/false, /*allow_unused=*/true);
      if (needs_dx) {
        out[0] = std::move(found.back());
        found.pop_back();
      }
      out.insert(out.end(), std::make_move_iterator(found.begin()), std::make_move_iterator(found.end()));
    }
    out.emplace_back();  // the block
    return out;
  }
};

}  // namespace

at::Tensor checkpoint(const BlockFunction& block, const at::Tensor& x, const Parameters& parameters) {
  std::vector<at::Tensor> trainables;
  for (const auto& parameter : parameters) {
    if (parameter.tensor.requires_grad()) trainables.push_back(parameter.tensor);
  }
  if (!at::GradMode::is_enabled() || (trainables.empty() && !x.requires_grad())) return block(x);
  return CheckpointedBlock::apply(x, at::TensorList(trainables), c10::make_intrusive<BlockHolder>(block));
}

}  // namespace snell::nn
