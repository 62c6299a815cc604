// The program's own byte counter against the one that stands between it and MPI (pmpi_counter.cpp).
#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "snell/dist/control_plane.h"
#include "snell/dist/mpi_communicator.h"
#include "snell/dist/reducer.h"

extern "C" int64_t snell_pmpi_allreduce_bytes(const char* communicator);

namespace snell::dist {

TEST(Traffic, ProgramAndMpiCountTheSameBytes) {
  MpiCommunicator comm("counted", 1000);
  const int64_t before = snell_pmpi_allreduce_bytes("snell.counted");
  for (const auto type : {at::kFloat, at::kDouble, at::kHalf, at::kByte}) {
    for (const int64_t numel : {0, 1, 999, 2501}) comm.all_reduce(at::ones({numel}, type), ReduceOp::kSum);
  }
  const int64_t counted = snell_pmpi_allreduce_bytes("snell.counted") - before;
  EXPECT_EQ(counted, (4 + 8 + 2 + 1) * (1 + 999 + 2501));
  EXPECT_EQ(comm.bytes("all_reduce"), counted);
}

TEST(Traffic, AStepMovesTheTrainableBytesAndNothingElse) {
  MpiCommunicator comm("step");
  const int64_t before = snell_pmpi_allreduce_bytes("snell.step");
  const std::vector<NamedTensor> trainables = {{"a", at::ones({10, 7}).requires_grad_()},
                                               {"b", at::ones({3}, at::kDouble).requires_grad_()}};
  BucketedReducer reducer(trainables, comm, 100);
  for (int step = 0; step < 3; ++step) {
    reducer.begin(0, true);
    (trainables[0].tensor.sum() + trainables[1].tensor.sum()).backward();
    reducer.end();
    reducer.finish();
  }
  EXPECT_EQ(reducer.stats().bytes_per_step, 10 * 7 * 4 + 3 * 8);
  EXPECT_EQ(comm.bytes("all_reduce"), 3 * reducer.stats().bytes_per_step);
  EXPECT_EQ(snell_pmpi_allreduce_bytes("snell.step") - before, comm.bytes("all_reduce"));
}

TEST(Traffic, TheControlPlaneAddsNothing) {
  const int64_t before = snell_pmpi_allreduce_bytes("snell.control");
  const auto control = make_control_plane();
  control->all_agree(true);
  control->max(1);
  EXPECT_EQ(snell_pmpi_allreduce_bytes("snell.control"), before);
}

}  // namespace snell::dist
