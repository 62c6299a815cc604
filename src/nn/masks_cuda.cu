// One thread four elements: the same blocks of draws as on the CPU.
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>

#include "snell/nn/masks.h"

namespace snell::nn {
namespace {

template <class T>
__global__ void dropout_factors_kernel(T* out, int64_t batch, int64_t per_sample, float p, T kept,
                                       core::StreamKey key) {
  const int64_t blocks_a_sample = (per_sample + 3) / 4;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= batch * blocks_a_sample) return;
  const int64_t sample = index / blocks_a_sample;
  const int64_t block = index % blocks_a_sample;
  key.slot += static_cast<uint32_t>(sample);
  const core::Philox4 draws = core::draw_block(key, static_cast<uint32_t>(block));
  for (int i = 0; i < 4 && block * 4 + i < per_sample; ++i) {
    out[sample * per_sample + block * 4 + i] = keeps(draws.v[i], p) ? kept : T(0);
  }
}

}  // namespace

void fill_dropout_factors_cuda(at::Tensor& out, int64_t batch, int64_t per_sample, double p,
                               const core::StepContext& context, core::Purpose purpose, uint32_t layer) {
  const int64_t threads = batch * ((per_sample + 3) / 4);
  if (threads == 0) return;
  const core::StreamKey key{context.seed, purpose, context.step, context.first_slot, layer};
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, out.scalar_type(), "dropout_factors_cuda", [&] {
    dropout_factors_kernel<scalar_t>
        <<<static_cast<unsigned>((threads + 255) / 256), 256, 0, at::cuda::getCurrentCUDAStream()>>>(
            out.mutable_data_ptr<scalar_t>(), batch, per_sample, static_cast<float>(p),
            static_cast<scalar_t>(1.0 / (1.0 - p)), key);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  });
}

}  // namespace snell::nn
