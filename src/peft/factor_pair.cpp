#include "snell/peft/factor_pair.h"

#include <cmath>

#include "snell/nn/init.h"

namespace snell::peft {

FactorPair::FactorPair(const std::string& a_name, const std::string& b_name, int64_t in_features, int64_t out_features,
                       int64_t rank, const nn::TensorPlace& place) {
  const auto matrix = [&](int64_t rows, int64_t columns) {
    return at::zeros({rows, columns}, place.trainable_options()).requires_grad_(true);
  };
  parameters_ = {{a_name, matrix(rank, in_features)}, {b_name, matrix(out_features, rank)}};
}

void FactorPair::init(uint64_t seed) {
  at::Tensor a = a_RI();
  nn::init_uniform(a, 1.0 / std::sqrt(static_cast<double>(a.size(1))), seed, parameters_[0].name);
  b_OR().zero_();
}

}  // namespace snell::peft
