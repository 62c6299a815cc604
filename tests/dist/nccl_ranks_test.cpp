// The NCCL communicator's logic with several ranks in one process, over a table of NCCL functions that moves real data
// (thread_nccl.h): results, order of streams, groups, and every way in which a start or a collective can fail.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "snell/core/text.h"
#include "snell/core/timer.h"
#include "snell/dist/nccl_communicator.h"
#include "snell/dist/two_level.h"
#include "thread_nccl.h"
#include "thread_ranks.h"
#include "thread_stream.h"

namespace snell::dist {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

namespace {

constexpr int kRanks = 4;

class NcclRanks : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { keep_freed_memory(); }
  void SetUp() override { reset_thread_nccl(); }
  void TearDown() override { release_hanging(); }

  static std::unique_ptr<NcclCommunicator> make(ControlPlane& control, const NcclOptions& options = {},
                                                StreamFault fault = StreamFault::kNone) {
    return std::make_unique<NcclCommunicator>(thread_nccl(), thread_comm_stream(fault), control, at::kCPU, options);
  }
  static void expect_no_errors(const std::vector<std::string>& errors) { EXPECT_THAT(errors, Each(IsEmpty())); }
  static void expect_all_well() {
    const ThreadNcclCounts counts = thread_nccl_counts();
    EXPECT_THAT(counts.conflicts, IsEmpty());
    EXPECT_EQ(counts.misused, 0);
    EXPECT_EQ(counts.destroyed, counts.made);
    EXPECT_EQ(counts.aborted, 0);
  }
};

// A kernel that takes its time, so that what does not wait for it comes too early.
void launch_slowly(std::function<void()> kernel) {
  ThreadStream::current().launch([kernel = std::move(kernel)] {
    ::usleep(3000);
    kernel();
  });
}

// Σ over ranks of rank + 1, written by slow kernels and read by a kernel behind wait(); what the reader saw.
double sum_over_streams(Communicator& comm) {
  const at::Tensor tensor = at::full({1000}, -1.0, at::kDouble);
  const double mine = comm.rank() + 1.0;
  launch_slowly([tensor, mine] { tensor.fill_(mine); });
  const auto work = comm.all_reduce_async(tensor, ReduceOp::kSum);
  work->wait();
  const at::Tensor seen = at::zeros({1000}, at::kDouble);
  ThreadStream::current().launch([tensor, seen] { seen.copy_(tensor); });
  ThreadStream::current().synchronize();
  return seen.eq(seen[0]).all().item<bool>() ? seen[0].item<double>() : -1;
}

}  // namespace

TEST_F(NcclRanks, CollectivesMoveTheRightData) {
  expect_no_errors(run_as_ranks(kRanks, [](ControlPlane& control) {
    const auto comm = make(control);
    const int64_t rank = comm->rank(), size = comm->size();
    at::Tensor sum = at::full({5}, static_cast<float>(rank), at::kFloat), high = sum.clone();
    comm->all_reduce(sum, ReduceOp::kSum);
    comm->all_reduce(high, ReduceOp::kMax);
    at::Tensor sent = at::full({3}, rank, at::kLong);
    comm->broadcast(sent, 2);
    const at::Tensor ours = at::full({2}, 10.0 * static_cast<double>(rank), at::kDouble);
    at::Tensor gathered = at::zeros({size, 2}, at::kDouble);
    comm->all_gather(ours, gathered);
    const at::Tensor whole = at::arange(size * 2, at::kFloat) + rank;
    at::Tensor slice = at::zeros({2}, at::kFloat);
    comm->reduce_scatter(whole, slice, ReduceOp::kSum);
    const at::Tensor dealt = at::arange(size, at::kInt) + rank * 100;
    at::Tensor received = at::zeros({size}, at::kInt);
    comm->all_to_all(dealt, received);
    const at::Tensor half = at::full({7}, 1.5, at::kBFloat16);
    comm->all_reduce(half, ReduceOp::kSum);
    comm->barrier();
    ThreadStream::current().synchronize();
    EXPECT_TRUE(sum.eq(6).all().item<bool>());
    EXPECT_TRUE(high.eq(3).all().item<bool>());
    EXPECT_TRUE(sent.eq(2).all().item<bool>());
    EXPECT_TRUE(half.eq(6).all().item<bool>());
    for (int64_t i = 0; i < size; ++i) {
      EXPECT_EQ(gathered[i][1].item<double>(), 10.0 * static_cast<double>(i));
      EXPECT_EQ(received[i].item<int>(), i * 100 + rank);
    }
    EXPECT_EQ(slice[1].item<float>(), 4 * (static_cast<float>(rank) * 2 + 1) + 6);
  }));
  expect_all_well();
}

TEST_F(NcclRanks, CollectivesWaitForTheCallersKernelsAndItsKernelsForThem) {
  expect_no_errors(run_as_ranks(kRanks, [](ControlPlane& control) {
    const auto comm = make(control);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(sum_over_streams(*comm), 10.0);
  }));
  expect_all_well();
}

// The double must notice: these are the numbers of a communicator whose streams are out of order.
TEST_F(NcclRanks, StreamsOutOfOrderGiveWrongNumbers) {
  for (const auto fault : {StreamFault::kDoesNotWaitForCurrent, StreamFault::kCurrentDoesNotWait}) {
    std::atomic<int> wrong = 0;
    expect_no_errors(run_as_ranks(kRanks, [&](ControlPlane& control) {
      const auto comm = make(control, {}, fault);
      if (sum_over_streams(*comm) != 10.0) ++wrong;
      comm->barrier();
      ThreadStream::current().synchronize();
    }));
    EXPECT_GT(wrong, 0);
  }
}

TEST_F(NcclRanks, TheHostGoesOnWhileACollectiveWaitsForOthers) {
  expect_no_errors(run_as_ranks(2, [](ControlPlane& control) {
    const auto comm = make(control);
    const at::Tensor tensor = at::full({4}, 1.0);
    if (comm->rank() == 1) ::usleep(300'000);
    const core::Timer timer;
    const auto work = comm->all_reduce_async(tensor, ReduceOp::kSum);
    work->wait();
    EXPECT_LT(timer.seconds(), 0.2) << "the host waited for the other rank";
    ThreadStream::current().synchronize();
    EXPECT_TRUE(tensor.eq(2).all().item<bool>());
  }));
  expect_all_well();
}

TEST_F(NcclRanks, GroupsReduceAmongThemselves) {
  expect_no_errors(run_as_ranks(kRanks, [](ControlPlane& control) {
    const RankGroup pair = split_ranks(control, control.rank() / 2), ends = split_ranks(control, control.rank() % 2);
    const auto within = make(control, {pair, 30}), across = make(control, {ends, 30});
    EXPECT_EQ(within->size(), 2);
    EXPECT_EQ(within->rank(), control.rank() % 2);
    const double sum = sum_over_streams(*within);
    EXPECT_EQ(sum, 3.0);
    at::Tensor ranks = at::full({1}, control.rank(), at::kLong), all = at::zeros({2}, at::kLong);
    across->all_gather(ranks, all);
    ThreadStream::current().synchronize();
    EXPECT_EQ(all[0].item<int64_t>(), control.rank() % 2);
    EXPECT_EQ(all[1].item<int64_t>(), control.rank() % 2 + 2);
  }));
  expect_all_well();
}

TEST_F(NcclRanks, TwoLevelsGiveTheSumsOfOne) {
  expect_no_errors(run_as_ranks(kRanks, [](ControlPlane& control) {
    const NodeLayout nodes = node_layout(control, 2);
    TwoLevelCommunicator comm({make(control), make(control, {nodes.within, 30}), make(control, {nodes.across, 30})},
                              thread_stream_chain());
    for (int i = 0; i < 3; ++i) EXPECT_EQ(sum_over_streams(comm), 10.0);
    for (const int64_t numel : {0, 1, 2, 7, 1001}) {
      const at::Tensor tensor = at::arange(numel, at::kDouble) * (control.rank() + 1);
      comm.all_reduce(tensor, ReduceOp::kSum);
      ThreadStream::current().synchronize();
      EXPECT_TRUE(tensor.equal(at::arange(numel, at::kDouble) * 10)) << numel;
    }
    EXPECT_EQ(comm.bytes("all_reduce"), 8 * (3 * 1000 + 1011));
    EXPECT_EQ(comm.bytes_across_nodes(), 8 * (3 * 500 + 1 + 1 + 3 + 1 + 500 + 1));
  }));
  expect_all_well();
}

// Errors ------------------------------------------------------------------------------------------------------------

TEST_F(NcclRanks, DifferentCollectivesAtOnceAreAnErrorOnEveryRank) {
  const auto errors = run_as_ranks(kRanks, [](ControlPlane& control) {
    const auto comm = make(control);
    const at::Tensor tensor = at::zeros({4});
    if (comm->rank() == 3) {
      comm->broadcast(tensor, 0);
    } else {
      comm->all_reduce(tensor, ReduceOp::kSum);
    }
    comm->barrier();
  });
  EXPECT_THAT(errors, Each(HasSubstr(" failed on rank ")));
  EXPECT_THAT(thread_nccl_counts().conflicts, SizeIs(1));
  EXPECT_THAT(thread_nccl_counts().conflicts.front(), HasSubstr("calls broadcast"));
  EXPECT_EQ(thread_nccl_counts().aborted, kRanks);
}

TEST_F(NcclRanks, AnAsynchronousErrorEndsEveryRankAndAbortsOnce) {
  reset_thread_nccl({.fails_on_rank = 1, .fails_at = 3});
  const auto errors = run_as_ranks(kRanks, [](ControlPlane& control) {
    const auto comm = make(control);
    const at::Tensor tensor = at::zeros({4});
    for (int step = 0; step < 100; ++step) {
      comm->all_reduce(tensor, ReduceOp::kSum);
      comm->barrier();
    }
  });
  EXPECT_THAT(errors, Each(HasSubstr("remote process exited")));
  for (int rank = 0; rank < kRanks; ++rank) {
    EXPECT_THAT(errors[static_cast<size_t>(rank)], HasSubstr(core::str("failed on rank ", rank, " (cpu)")));
  }
  const ThreadNcclCounts counts = thread_nccl_counts();
  EXPECT_EQ(counts.aborted, kRanks);
  EXPECT_EQ(counts.destroyed, 0);
  EXPECT_EQ(counts.misused, 0) << "nothing may be called once it is aborted";
}

TEST_F(NcclRanks, ACommunicatorThatFailedIsAbortedOnceAndSaysWhyAfterwards) {
  reset_thread_nccl({.fails_on_rank = 0, .fails_at = 0});
  expect_no_errors(run_as_ranks(2, [](ControlPlane& control) {
    const auto comm = make(control);
    const at::Tensor tensor = at::zeros({4});
    const auto fail = [&] {
      for (;;) comm->barrier();
    };
    EXPECT_THROW(fail(), core::Error);
    try {
      comm->all_reduce(tensor, ReduceOp::kSum);
      ADD_FAILURE();
    } catch (const core::Error& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr("was aborted"), HasSubstr("remote process exited")));
    }
    comm->abort();
  }));
  EXPECT_EQ(thread_nccl_counts().aborted, 2);
  EXPECT_EQ(thread_nccl_counts().destroyed, 0);
  EXPECT_EQ(thread_nccl_counts().misused, 0);
}

TEST_F(NcclRanks, AnotherThreadAbortsACollectiveThatNeverEnds) {
  std::atomic<bool> waiting = false;
  const auto errors = run_as_ranks(2, [&](ControlPlane& control) {
    const auto comm = make(control);
    if (control.rank() == 1) {  // hangs somewhere else, until its own watchdog ends it
      while (!waiting) ::usleep(1000);
      ::usleep(100'000);
      comm->abort();
      comm->abort();
      return;
    }
    std::thread watchdog([&] {
      while (!waiting) ::usleep(1000);
      ::usleep(50'000);
      comm->abort();
    });
    waiting = true;
    try {
      comm->barrier();
      ADD_FAILURE() << "a barrier of one rank of two ended";
    } catch (const core::Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("was aborted"));
    }
    watchdog.join();
  });
  expect_no_errors(errors);
  EXPECT_EQ(thread_nccl_counts().aborted, 2);
  EXPECT_EQ(thread_nccl_counts().destroyed, 0);
  EXPECT_EQ(thread_nccl_counts().misused, 0);
  EXPECT_THAT(thread_nccl_counts().conflicts, IsEmpty()) << "its stream was not released";
}

// Starting ----------------------------------------------------------------------------------------------------------

TEST_F(NcclRanks, ARankThatFailsToJoinIsNamedOnEveryRank) {
  reset_thread_nccl({.init_fails_on_rank = 2});
  const auto errors = run_as_ranks(kRanks, [](ControlPlane& control) { make(control, {std::nullopt, 0.3}); });
  EXPECT_THAT(errors, Each(AllOf(HasSubstr("agreed: rank 2 on "), HasSubstr("did not join NCCL's communicator"),
                                 HasSubstr("ncclCommInitRankConfig failed on rank 2"),
                                 HasSubstr("ranks 0, 1, 3 waited 0.3 s"))));
  EXPECT_EQ(thread_nccl_counts().aborted, kRanks - 1) << "those that waited give up";
}

TEST_F(NcclRanks, RanksThatNeverFindEachOtherStopInTime) {
  reset_thread_nccl({.never_joins_rank = 1});
  const core::Timer timer;
  const auto errors = run_as_ranks(kRanks, [](ControlPlane& control) { make(control, {std::nullopt, 0.3}); });
  EXPECT_LT(timer.seconds(), 5);
  EXPECT_THAT(errors, Each(AllOf(HasSubstr("agreed: ranks 0, 1, 2, 3 waited 0.3 s (dist.init_timeout_s)"),
                                 HasSubstr("NCCL_SOCKET_IFNAME"))));
  EXPECT_EQ(thread_nccl_counts().aborted, kRanks);
  EXPECT_EQ(thread_nccl_counts().misused, 0);
}

TEST_F(NcclRanks, ARankThatHangsInNcclIsNamedByTheOthers) {
  reset_thread_nccl({.init_hangs_on_rank = 3});
  std::atomic<int> ended = 0;
  const auto errors = run_as_ranks(kRanks, [&](ControlPlane& control) {
    struct AtEnd {
      std::atomic<int>& ended;
      ~AtEnd() {
        if (++ended == kRanks - 1) release_hanging();
      }
    } at_end{ended};
    make(control, {std::nullopt, 0.3});
  });
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_THAT(errors[static_cast<size_t>(rank)],
                HasSubstr("rank 3 of 4 did not come to join NCCL's communicator within 0.6 s"));
  }
}

TEST_F(NcclRanks, ARankThatNeverComesIsNamedByTheOthers) {
  const auto errors = run_as_ranks(kRanks, [](ControlPlane& control) {
    if (control.rank() != 1) make(control, {std::nullopt, 0.2});
  });
  EXPECT_EQ(errors[1], "");
  for (size_t rank : {0, 2, 3}) {
    EXPECT_THAT(errors[rank], AllOf(HasSubstr("rank 1 of 4 did not come to start NCCL within 0.2 s"),
                                    HasSubstr("dist.init_timeout_s"), Not(HasSubstr("agreed"))));
  }
  EXPECT_EQ(thread_nccl_counts().made, 0);
}

TEST_F(NcclRanks, AnErrorThatPassesAbortsTheCommunicator) {
  const auto errors = run_as_ranks(2, [](ControlPlane& control) {
    const auto comm = make(control);
    throw core::Error("passing");
  });
  EXPECT_THAT(errors, Each(HasSubstr("passing")));
  EXPECT_EQ(thread_nccl_counts().aborted, 2);
  EXPECT_EQ(thread_nccl_counts().destroyed, 0);
}

}  // namespace snell::dist
