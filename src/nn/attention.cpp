#include "snell/nn/attention.h"

#include <ATen/ops/_scaled_dot_product_attention_math.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>

namespace snell::nn {

at::Tensor attention(const at::Tensor& q_BHNE, const at::Tensor& k_BHNE, const at::Tensor& v_BHNE,
                     const at::Tensor& bias) {
  const auto added = bias.defined() ? std::optional(bias) : std::nullopt;
  if (!q_BHNE.is_meta()) return at::scaled_dot_product_attention(q_BHNE, k_BHNE, v_BHNE, added);
  // LibTorch's choice on a CPU: flash attention has no gradient for a bias.
  if (bias.defined() && bias.requires_grad()) {
    return std::get<0>(at::_scaled_dot_product_attention_math(q_BHNE, k_BHNE, v_BHNE, added));
  }
  return std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu(q_BHNE, k_BHNE, v_BHNE, 0, false, added));
}

}  // namespace snell::nn
