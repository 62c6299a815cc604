// SNELLA's mixed kernel (arXiv 2510.24037): K' = K + alpha·softmax(K / gamma, over the out features) + beta, with three
// trained scalars.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "snell/nn/parameter.h"

namespace snell::peft {

class KernelMix {
 public:
  // `path`: "blocks.0.attn.additional_q". The scalars have shape [1].
  KernelMix(const std::string& path, const nn::TensorPlace& place);
  const nn::Parameters& scalars() const { return scalars_; }  // alpha, gamma, beta
  void init();                                                // 1, 1, 0

  // The softmax [I, O]: what both passes need besides K.
  at::Tensor softmax(const at::Tensor& kernel_IO) const;
  // K' into kernel_IO.
  void apply_(at::Tensor& kernel_IO, const at::Tensor& softmax_IO) const;

  struct Grads {
    at::Tensor kernel_IO;
    std::vector<at::Tensor> scalars;  // in the order of scalars()
  };
  Grads backward(const at::Tensor& grad_mixed_IO, const at::Tensor& kernel_IO, const at::Tensor& softmax_IO) const;

 private:
  at::Tensor alpha() const { return scalars_[0].tensor.detach(); }
  at::Tensor gamma() const { return scalars_[1].tensor.detach(); }
  at::Tensor beta() const { return scalars_[2].tensor.detach(); }
  nn::Parameters scalars_;
};

}  // namespace snell::peft
