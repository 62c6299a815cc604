#include "snell/peft/quantile.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "snell/core/error.h"

namespace snell::peft {
namespace {

TEST(Quantile, EqualsTorchBitForBit) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    for (const int64_t n : {1, 2, 3, 10, 1000, 99991}) {
      const at::Tensor values = at::randn({n}, dtype).abs();
      for (const double q : {0.0, 1e-6, 0.05, 0.3, 0.5, 0.7, 0.9, 0.995, 1.0}) {
        EXPECT_TRUE(at::equal(matrix_quantile(values, q), at::quantile(values, q))) << n << " values, q = " << q;
      }
    }
  }
}

TEST(Quantile, TiesAndConstantMatrices) {
  EXPECT_EQ(matrix_quantile(at::full({5, 7}, 2.5), 0.4).item<float>(), 2.5f);
  const at::Tensor ties = at::tensor({1.0, 1.0, 1.0, 4.0}, at::kDouble);
  EXPECT_EQ(matrix_quantile(ties, 0.5).item<double>(), 1.0);
  EXPECT_TRUE(at::equal(matrix_quantile(ties, 0.9), at::quantile(ties, 0.9)));
}

TEST(Quantile, BeyondTorchsLimit) {
  const int64_t n = (int64_t{1} << 24) + 5;
  const at::Tensor values = at::arange(n, at::kFloat).flip(0);
  const double rank = 0.7 * static_cast<double>(n - 1);
  EXPECT_NEAR(matrix_quantile(values, 0.7).item<double>(), rank, 1.0);
  EXPECT_EQ(quantile_rank(0.7, n, at::kFloat).below, static_cast<int64_t>(rank));
}

TEST(Quantile, NotANumberIsNotHidden) {
  at::Tensor values = at::rand({100});
  values[17] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(matrix_quantile(values, 0.5).item<float>()));
}

TEST(Quantile, RefusesWhatIsNoShare) {
  EXPECT_THROW(matrix_quantile(at::rand({3}), 1.5), core::Error);
  EXPECT_THROW(matrix_quantile(at::empty({0}), 0.5), core::Error);
}

}  // namespace
}  // namespace snell::peft
