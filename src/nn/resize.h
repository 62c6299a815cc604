// Published tensors whose size follows the image's: resized to another grid while loading.
#pragma once

#include <torch/types.h>

namespace snell::nn {

// pos_embed [1, P + S², D] to `tokens` = P + T²: bicubic without antialiasing, the `prefix` P rows (class and register
// tokens) kept. Returns it unchanged where either is no such square.
at::Tensor resize_position_embedding(const at::Tensor& from, int64_t tokens, int64_t prefix);

// relative_position_bias_table [(2W - 1)², heads] of another window: bicubic. Unchanged where it is no such square.
at::Tensor resize_bias_table(const at::Tensor& from, int64_t rows);

}  // namespace snell::nn
