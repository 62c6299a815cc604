#include "snell/nn/init.h"

#include <cmath>
#include <numbers>

#include "snell/core/hash.h"
#include "snell/core/random.h"

namespace snell::nn {
namespace {

// The 56 bits of a stream's slot and layer name the tensor; its time field counts chunks of 2^32 draws.
core::StreamKey key_of(uint64_t seed, const std::string& name) {
  const core::Hash128 hash = core::hash128(name.data(), name.size());
  return {seed, core::Purpose::kInit, 0, static_cast<uint32_t>(hash.low), static_cast<uint32_t>(hash.high)};
}

// Calls value(draws) for each aligned pair of elements; the result does not depend on the number of threads.
template <class PairOf>
void fill_pairs(at::Tensor& tensor, uint64_t seed, const std::string& name, PairOf pair_of) {
  const core::StreamKey base = key_of(seed, name);
  at::Tensor host =
      at::empty(tensor.sizes(), at::TensorOptions().dtype(at::kDouble).device(tensor.is_meta() ? at::kMeta : at::kCPU));
  if (host.is_meta()) return;  // the memory that it takes is all that is wanted (snell plan)
  double* data = host.mutable_data_ptr<double>();
  const int64_t count = host.numel();
  at::parallel_for(0, (count + 1) / 2, 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t pair = begin; pair < end; ++pair) {
      core::StreamKey key = base;
      key.time = static_cast<uint32_t>(pair >> 32);
      const core::Philox4 draws = core::draw_block(key, static_cast<uint32_t>(pair));
      const auto [first, second] =
          pair_of(core::to_unit_double(draws.v[0], draws.v[1]), core::to_unit_double(draws.v[2], draws.v[3]));
      data[2 * pair] = first;
      if (2 * pair + 1 < count) data[2 * pair + 1] = second;
    }
  });
  at::NoGradGuard no_grad;
  tensor.copy_(host);
}

}  // namespace

void init_uniform(at::Tensor& tensor, double bound, uint64_t seed, const std::string& name) {
  fill_pairs(tensor, seed, name, [bound](double a, double b) {
    return std::pair{bound * (2 * a - 1), bound * (2 * b - 1)};
  });
}

void init_normal(at::Tensor& tensor, double std, uint64_t seed, const std::string& name) {
  fill_pairs(tensor, seed, name, [std](double a, double b) {  // Box and Muller
    const double radius = std * std::sqrt(-2 * std::log1p(-a));
    const double angle = 2 * std::numbers::pi * b;
    return std::pair{radius * std::cos(angle), radius * std::sin(angle)};
  });
}

void init_as_timm(at::Tensor& tensor, uint64_t seed, const std::string& name) {
  const at::NoGradGuard no_grad;
  if (tensor.dim() >= 2) {
    init_normal(tensor, 0.02, seed, name);
  } else if (name.ends_with(".bias")) {
    tensor.zero_();
  } else {
    tensor.fill_(1);
  }
}

}  // namespace snell::nn
