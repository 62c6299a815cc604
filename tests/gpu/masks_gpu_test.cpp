// Dropout's factors are the same on a GPU as on a CPU, bit by bit.
#include <gtest/gtest.h>

#include "snell/nn/masks.h"

namespace snell::nn {
namespace {

TEST(MasksGpu, TheSameBitsAsOnTheCpu) {
  const core::StepContext context{7, 3, 10, true};
  for (const auto dtype : {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16}) {
    for (const int64_t features : {1, 3, 33, 5000, 20001}) {
      for (const double p : {0.0, 0.1, 0.5, 0.999}) {
        const at::Tensor like = at::randn({5, features}).to(dtype);
        const auto on = [&](const at::Tensor& x) {
          return dropout_factors(x, p, context, core::Purpose::kTest, 9).cpu();
        };
        EXPECT_TRUE(at::equal(on(like.cuda()), on(like))) << features << " " << p << " " << dtype;
        const at::Tensor on_gpu = dropout(like.cuda(), p, context, core::Purpose::kTest, 9).cpu();
        EXPECT_TRUE(at::equal(on_gpu, dropout(like, p, context, core::Purpose::kTest, 9))) << features << " " << dtype;
        const at::Tensor paths = drop_path_factors(like.cuda(), p, context, core::Purpose::kTest, 9).cpu();
        EXPECT_TRUE(at::equal(paths, drop_path_factors(like, p, context, core::Purpose::kTest, 9))) << p;
      }
    }
  }
}

}  // namespace
}  // namespace snell::nn
