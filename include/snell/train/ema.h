// A moving average of the trained weights, as timm keeps one (model-ema). Its model has the current sparsity of every
// layer, so it is as sparse as the trained one: thresholds are found anew from the averaged factors.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "snell/ckpt/checkpoint.h"
#include "snell/nn/parameter.h"
#include "snell/train/job_config.h"

namespace snell::train {

// The share of the average that stays at the update after step `steps_done` (from 1 on): `decay`, or with the warm-up
// at most 1 − steps_done^(−2/3), timm's curve, which takes the first step's weights as they are.
double ema_decay(const EmaConfig& config, int64_t steps_done);

class WeightsEma {
 public:
  // Begins with the weights as they are. The parameters' tensors are shared, not copied.
  WeightsEma(nn::Parameters trainable, const EmaConfig& config);
  // Begins anew with the weights as they are.
  void reset();
  // After each optimizer step; does not wait for the device.
  void update(int64_t steps_done);
  // Exchanges the average and the model's weights; a second time puts both back, to the last bit.
  void swap();
  // The averages under the prefix and their parameters' names: live tensors.
  std::vector<ckpt::TensorRef> state(const std::string& prefix) const;

 private:
  nn::Parameters trainable_;
  EmaConfig config_;
  std::vector<at::Tensor> weights_, averages_;
};

// The model has the averaged weights as long as this lives.
class EmaInPlace {
 public:
  explicit EmaInPlace(WeightsEma& ema) : ema_(ema) { ema_.swap(); }
  ~EmaInPlace() { ema_.swap(); }
  EmaInPlace(const EmaInPlace&) = delete;
  EmaInPlace& operator=(const EmaInPlace&) = delete;

 private:
  WeightsEma& ema_;
};

}  // namespace snell::train
