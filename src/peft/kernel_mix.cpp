#include "snell/peft/kernel_mix.h"

namespace snell::peft {

KernelMix::KernelMix(const std::string& path, const nn::TensorPlace& place) {
  for (const char* name : {".learnable.alpha", ".learnable.gamma", ".learnable.beta"}) {
    scalars_.push_back({path + name, at::zeros({1}, place.trainable_options()).requires_grad_(true)});
  }
  init();
}

void KernelMix::init() {
  alpha().fill_(1);
  gamma().fill_(1);
  beta().zero_();
}

at::Tensor KernelMix::softmax(const at::Tensor& kernel_IO) const {
  return at::softmax(kernel_IO / gamma(), 1);
}

void KernelMix::apply_(at::Tensor& kernel_IO, const at::Tensor& softmax_IO) const {
  kernel_IO.addcmul_(softmax_IO, alpha()).add_(beta());
}

KernelMix::Grads KernelMix::backward(const at::Tensor& grad_mixed_IO, const at::Tensor& kernel_IO,
                                     const at::Tensor& softmax_IO) const {
  // With Z = K / gamma: dZ = alpha·S ⊙ (G − rowsum(G ⊙ S)), dK = G + dZ / gamma, dgamma = −Σ dZ ⊙ K / gamma².
  const at::Tensor weighted_IO = grad_mixed_IO * softmax_IO;
  const at::Tensor row_sums_I1 = weighted_IO.sum(1, true);
  const at::Tensor grad_z_IO = (weighted_IO - softmax_IO * row_sums_I1).mul_(alpha());
  Grads out;
  out.scalars = {row_sums_I1.sum().reshape({1}),
                 (grad_z_IO * kernel_IO).sum().reshape({1}).neg_().div_(gamma() * gamma()),
                 grad_mixed_IO.sum().reshape({1})};
  out.kernel_IO = grad_mixed_IO + grad_z_IO / gamma();
  return out;
}

}  // namespace snell::peft
