// What the NCCL communicator does around NCCL: order of streams, errors, bootstrap. Its collectives are in
// collectives_test.cpp.
#include "snell/dist/nccl_communicator.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "fake_nccl.h"
#include "snell/dist/abort_hooks.h"

namespace snell::dist {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class NcclLogic : public ::testing::Test {
 protected:
  void SetUp() override {
    fake_nccl_state() = {};
    control_ = make_control_plane();
  }
  void TearDown() override { fake_nccl_state() = {}; }

  std::unique_ptr<NcclCommunicator> make() {
    auto made = std::make_unique<NcclCommunicator>(fake_nccl(), fake_stream(&calls_), *control_, at::kCPU);
    calls_.clear();
    return made;
  }
  template <class F>
  static std::string error_of(F&& action) {
    try {
      action();
    } catch (const core::Error& error) {
      return error.what();
    }
    return "no error";
  }

  std::unique_ptr<ControlPlane> control_;
  std::vector<std::string> calls_;
};

TEST_F(NcclLogic, OrdersItsStreamWithTheCallersStream) {
  const auto comm = make();
  auto work = comm->all_reduce_async(at::ones({3}), ReduceOp::kSum);
  EXPECT_THAT(calls_, ElementsAre("wait_for_current", "mark"));
  work->wait();
  EXPECT_THAT(calls_, ElementsAre("wait_for_current", "mark", "make_current_wait"));
  work.reset();
  EXPECT_EQ(calls_.size(), 3u) << "waited twice";
  calls_.clear();
  comm->broadcast(at::ones({3}), 0);
  EXPECT_THAT(calls_, ElementsAre("wait_for_current", "mark", "make_current_wait"));
  calls_.clear();
  comm->all_reduce_async(at::ones({3}), ReduceOp::kSum);
  EXPECT_THAT(calls_, ElementsAre("wait_for_current", "mark", "make_current_wait"))
      << "dropped work must be waited for";
}

TEST_F(NcclLogic, ErrorsNameTheCallTheRankAndNcclsOwnWords) {
  const auto comm = make();
  fake_nccl_state().next_result = 2;
  const std::string text = error_of([&] { comm->all_reduce(at::ones({3}), ReduceOp::kSum); });
  EXPECT_THAT(text, HasSubstr("ncclAllReduce failed on rank " + std::to_string(control_->rank())));
  EXPECT_THAT(text, HasSubstr("unhandled system error; the cable is out"));
  EXPECT_THAT(text, HasSubstr("NCCL_DEBUG"));
}

TEST_F(NcclLogic, AsynchronousErrorsAreSeenOnTheNextCall) {
  const auto comm = make();
  fake_nccl_state().async_error = kNcclInProgress;
  EXPECT_NO_THROW(comm->all_reduce(at::ones({3}), ReduceOp::kSum));
  fake_nccl_state().async_error = 2;
  EXPECT_THAT(error_of([&] { comm->all_reduce(at::ones({3}), ReduceOp::kSum); }),
              HasSubstr("an earlier NCCL operation"));
  EXPECT_THAT(error_of([&] { comm->barrier(); }), HasSubstr("an earlier NCCL operation"));
}

TEST_F(NcclLogic, ARankThatCannotJoinStopsAll) {
  fake_nccl_state().init_fails_on_rank = control_->size() - 1;
  EXPECT_THROW(make(), AgreedError);
}

TEST_F(NcclLogic, DestroysItsCommunicatorAndAbortsItWhenAnErrorPasses) {
  make();
  EXPECT_EQ(fake_nccl_state().live_comms, 0);
  EXPECT_EQ(fake_nccl_state().aborted_comms, 0);
  try {
    const auto comm = make();
    throw core::Error("passing");
  } catch (const core::Error&) {
  }
  EXPECT_EQ(fake_nccl_state().live_comms, 0);
  EXPECT_EQ(fake_nccl_state().aborted_comms, 1);
}

TEST_F(NcclLogic, AbortsOnceFromAnyThreadAndIsOfNoUseAfterwards) {
  {
    const auto comm = make();
    std::thread([] { run_abort_hooks(); }).join();  // what a watchdog does
    EXPECT_EQ(fake_nccl_state().aborted_comms, 1);
    comm->abort();
    EXPECT_EQ(fake_nccl_state().aborted_comms, 1);
    EXPECT_THAT(error_of([&] { comm->all_reduce(at::ones({3}), ReduceOp::kSum); }), HasSubstr("was aborted"));
    EXPECT_THAT(error_of([&] { comm->barrier(); }), HasSubstr("was aborted"));
  }
  EXPECT_EQ(fake_nccl_state().live_comms, 0) << "and was not destroyed a second time";
  run_abort_hooks();
  EXPECT_EQ(fake_nccl_state().aborted_comms, 1) << "its hook went with it";
}

}  // namespace snell::dist
