#include "snell/dist/replicas.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snell/dist/mpi_communicator.h"

namespace snell::dist {

using ::testing::HasSubstr;

class Replicas : public ::testing::Test {
 protected:
  void SetUp() override {
    control_ = make_control_plane();
    comm_ = std::make_unique<MpiCommunicator>();
    rank_ = control_->rank();
    size_ = control_->size();
    tensors_ = {{"head.weight", at::arange(12, at::kFloat).view({3, 4}).requires_grad_()},
                {"blocks.0.factor", at::arange(5, at::kDouble).requires_grad_()},
                {"blocks.1.factor", at::arange(6, at::kDouble).requires_grad_()}};
  }

  std::string error_of_check() {
    try {
      check_replicas(tensors_, *control_, 42);
    } catch (const core::ReplicaError& error) {
      EXPECT_EQ(error.exit_code(), core::ExitCode::kReplicasDiffer);
      return error.what();
    }
    return "";
  }

  std::unique_ptr<ControlPlane> control_;
  std::unique_ptr<MpiCommunicator> comm_;
  std::vector<NamedTensor> tensors_;
  int rank_ = 0;
  int size_ = 1;
};

TEST_F(Replicas, EqualOnesPass) {
  EXPECT_EQ(error_of_check(), "");
}

TEST_F(Replicas, OneFlippedBitIsFoundAndNamed) {
  if (rank_ == size_ - 1 && size_ > 1) {
    auto* bytes = static_cast<unsigned char*>(tensors_[1].tensor.data_ptr());
    bytes[17] ^= 1;
  }
  const std::string text = error_of_check();
  if (size_ == 1) {
    EXPECT_EQ(text, "");
    return;
  }
  EXPECT_THAT(text, HasSubstr("at step 42"));
  EXPECT_THAT(text, HasSubstr("of rank " + std::to_string(size_ - 1) + " differ from rank 0's"));
  EXPECT_THAT(text, HasSubstr("'blocks.0.factor'"));
}

TEST_F(Replicas, AllRanksThatDifferAreNamed) {
  if (rank_ > 0) tensors_[2].tensor.detach()[0] = 100.0 + rank_;
  const std::string text = error_of_check();
  if (size_ == 4) {
    EXPECT_THAT(text, HasSubstr("ranks 1, 2, 3"));
  }
  EXPECT_EQ(text.empty(), size_ == 1);
}

TEST_F(Replicas, BroadcastMakesThemEqual) {
  for (auto& named : tensors_) named.tensor.detach().add_(rank_);
  if (size_ > 1) {
    EXPECT_NE(error_of_check(), "");
  }
  broadcast_parameters(tensors_, *comm_);
  EXPECT_EQ(error_of_check(), "");
  EXPECT_TRUE(tensors_[1].tensor.detach().equal(at::arange(5, at::kDouble)));
}

TEST_F(Replicas, OtherShapesAreFoundBeforeAnythingIsSent) {
  if (size_ == 1) return;
  if (rank_ == 1) tensors_[0].tensor = at::full({4, 3}, 1.0f).requires_grad_();
  EXPECT_THROW(broadcast_parameters(tensors_, *comm_), core::ReplicaError);
  EXPECT_EQ(comm_->bytes("broadcast"), 0);
}

}  // namespace snell::dist
