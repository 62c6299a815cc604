// LibTorch's AdamW or SGD over the trainables, with the recipes' decay rule and a state that has names.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include "snell/ckpt/checkpoint.h"
#include "snell/nn/parameter.h"
#include "snell/train/job_config.h"

namespace torch::optim {
class Optimizer;
}

namespace snell::train {

// Whether weight decay applies: not to 1-D parameters, biases, class token, position embedding, relative-position
// tables.
bool decays(const nn::Parameter& parameter);

class Optimizer {
 public:
  Optimizer(nn::Parameters trainable, const OptimConfig& config);
  ~Optimizer();

  void set_learning_rate(double lr);
  // One update from the parameters' .grad.
  void step();
  // Gradients' total 2-norm, scaled down to `clip_norm` where it is larger (0: not scaled). A 0-d tensor on their
  // device.
  at::Tensor clip(double clip_norm) const;

  // "optim/exp_avg/<name>", ...: live tensors, to be saved or filled by loading. All exist from the start.
  std::vector<ckpt::TensorRef> state() const;
  // Steps that the filled state has behind it (AdamW's bias correction).
  void set_steps_done(int64_t steps);

 private:
  nn::Parameters trainable_;
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
  bool adam_;
};

}  // namespace snell::train
