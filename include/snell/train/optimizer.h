// AdamW or SGD over the trainables by LibTorch's fused kernels (one pass over memory, one launch on a GPU), with the
// recipes' decay rule and a state that has names.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "snell/ckpt/checkpoint.h"
#include "snell/nn/parameter.h"
#include "snell/train/job_config.h"
#include "snell/train/update_share.h"

namespace snell::train {

// Whether weight decay applies: not to 1-D parameters, biases, class token, position embedding, relative-position
// tables.
bool decays(const nn::Parameter& parameter);

class Optimizer {
 public:
  // `share`, when given: this rank keeps the state of its own parameters alone and updates only them.
  Optimizer(nn::Parameters trainable, const OptimConfig& config, std::unique_ptr<const UpdateShare> share = nullptr);

  void set_learning_rate(double lr) { lr_ = lr; }
  // One update from the parameters' .grad; a parameter without one stays as it is. Collective with a share.
  void step();
  // Gradients' total 2-norm, scaled down to `clip_norm` where it is larger (0: not scaled). A 0-d tensor on their
  // device.
  at::Tensor clip(double clip_norm) const;

  // "optim/exp_avg/<name>", ...: live tensors, to be saved or filled by loading. All exist from the start; what another
  // rank keeps is shape and type alone (meta device).
  std::vector<ckpt::TensorRef> state() const;
  // Steps that the filled state has behind it (AdamW's bias correction).
  void set_steps_done(int64_t steps) { steps_done_ = steps; }

 private:
  struct Slot {
    nn::Parameter parameter;
    bool decays;
    bool is_mine;
    std::vector<at::Tensor> state;  // AdamW: both averages; SGD: the momentum
  };

  void step(bool decayed);

  std::vector<Slot> slots_;
  std::unique_ptr<const UpdateShare> share_;
  OptimConfig config_;
  double lr_;
  int64_t steps_done_ = 0;
};

// As `config` says, sharded over the communicator's ranks or not.
std::unique_ptr<Optimizer> make_optimizer(nn::Parameters trainable, const JobConfig& config,
                                          dist::Communicator& communicator);

}  // namespace snell::train
