// The real NCCL on one GPU: collectives of one rank, the order of streams, abort, and a rank that never comes.
#include <ATen/cuda/Sleep.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <thread>

#include "cuda_stream.h"
#include "nccl_comm.h"
#include "nccl_types.h"
#include "snell/core/timer.h"
#include "snell/dist/config.h"
#include "snell/dist/nccl_communicator.h"
#include "snell/dist/reducer.h"

namespace snell::dist {
namespace {

using ::testing::HasSubstr;

constexpr c10::ScalarType kTypes[] = {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16,
                                      at::kLong,  at::kInt,    at::kByte};

class NcclGpu : public ::testing::Test {
 protected:
  NcclGpu() : device_(choose_device("cuda", control_)) {}
  std::unique_ptr<Communicator> make() {
    DistConfig config;
    config.backend = "nccl";
    return make_communicator(config, control_, device_);
  }
  at::Tensor counted(int64_t size, c10::ScalarType type) const {
    return at::arange(size, at::device(device_).dtype(at::kLong)).remainder(100).to(type);
  }

  static NcclId unique_id() {
    NcclId id;
    EXPECT_EQ(real_nccl().get_unique_id(&id), kNcclSuccess);
    return id;
  }
  // What waits throws soon after another thread aborts it, as the watchdog does.
  template <class Abort, class Wait>
  static void expect_abort_ends(std::chrono::milliseconds after, Abort abort, Wait wait) {
    std::thread watchdog([&] {
      std::this_thread::sleep_for(after);
      abort();
    });
    const core::Timer timer;
    EXPECT_THROW(wait(), core::Error);
    EXPECT_LE(timer.seconds(), 20);
    watchdog.join();
  }

  SelfControlPlane control_;
  c10::Device device_;
};

TEST_F(NcclGpu, EveryCollectiveInEveryType) {
  const auto comm = make();
  EXPECT_EQ(comm->size(), 1);
  EXPECT_STREQ(comm->name(), "nccl");
  for (const auto type : kTypes) {
    SCOPED_TRACE(c10::toString(type));
    const at::Tensor expected = counted(1000, type);
    at::Tensor tensor = expected.clone(), out = at::zeros_like(expected);
    comm->all_reduce(tensor, ReduceOp::kSum);
    comm->all_reduce(tensor, ReduceOp::kMax);
    comm->broadcast(tensor, 0);
    EXPECT_TRUE(at::equal(tensor, expected));
    comm->all_gather(tensor, out);
    EXPECT_TRUE(at::equal(out, expected));
    comm->reduce_scatter(tensor, out.zero_(), ReduceOp::kSum);
    EXPECT_TRUE(at::equal(out, expected));
    comm->all_to_all(tensor, out.zero_());
    EXPECT_TRUE(at::equal(out, expected));
  }
  comm->barrier();
  EXPECT_EQ(comm->bytes("all_gather"), 1000 * (4 + 8 + 2 + 2 + 8 + 4 + 1));
}

// The collective starts after what the current stream holds, and what follows wait() sees its result.
TEST_F(NcclGpu, WaitsForTheCurrentStreamAndIsWaitedFor) {
  const auto comm = make();
  const at::Tensor big = at::randn({4096, 4096}, at::device(device_));
  at::Tensor gathered = at::empty_like(big);
  for (int round = 0; round < 20; ++round) {
    at::Tensor product = big;
    for (int i = 0; i < 5; ++i) product = at::mm(product, big) * 1e-2;  // some milliseconds
    const auto work = comm->all_gather_async(product, gathered);
    work->wait();
    EXPECT_TRUE(at::equal(gathered, product)) << round;
    gathered.zero_();
  }
}

// Memory of a tensor that is dropped while the collective is under way is not given to others.
TEST_F(NcclGpu, TensorsInFlightKeepTheirMemory) {
  const auto comm = make();
  at::Tensor out = at::empty({1 << 22}, at::device(device_));
  for (int round = 0; round < 20; ++round) {
    std::unique_ptr<Work> work;
    {
      const at::Tensor in = at::full({1 << 22}, static_cast<double>(round), at::device(device_));
      work = comm->all_gather_async(in, out);
    }
    const at::Tensor other = at::full({1 << 22}, -1.0, at::device(device_));
    work->wait();
    EXPECT_TRUE((out == round).all().item<bool>()) << round;
  }
}

TEST_F(NcclGpu, AfterAnAbortEveryCallThrows) {
  const auto comm = make();
  at::Tensor tensor = at::ones({1 << 20}, at::device(device_));
  for (int i = 0; i < 100; ++i) comm->all_reduce(tensor, ReduceOp::kSum);
  std::thread([&] { comm->abort(); }).join();
  comm->abort();  // once more does nothing
  try {
    comm->all_reduce(tensor, ReduceOp::kSum);
    FAIL() << "no error";
  } catch (const core::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("aborted"));
    EXPECT_THAT(error.what(), HasSubstr("rank 0 (cuda:0)"));
  }
  // The device and another communicator go on.
  EXPECT_EQ(tensor.sum().item<double>(), 1 << 20);
  make()->all_reduce(tensor, ReduceOp::kSum);
}

// The host waits in barrier() for a GPU that is busy for seconds; the watchdog's abort ends the wait.
TEST_F(NcclGpu, AnAbortEndsABarrierThatWaits) {
  const auto comm = make();
  comm->barrier();
  constexpr int64_t kSeconds = 5, kCyclesASecond = 1'500'000'000;
  at::cuda::sleep(kSeconds * kCyclesASecond);
  expect_abort_ends(
      std::chrono::milliseconds(300), [&] { comm->abort(); }, [&] { comm->barrier(); });
}

// The start does not block: the rank that waits for one that never comes gives up at the limit, and the communicator is
// gone.
TEST_F(NcclGpu, ARankThatNeverComesEndsTheStart) {
  NcclComm comm(real_nccl(), "rank 0 (cuda:0)");
  const NcclId id = unique_id();
  const core::Timer timer;
  EXPECT_FALSE(comm.join(/*size=*/2, id, /*rank=*/0, /*limit_s=*/2));
  EXPECT_GE(timer.seconds(), 2);
  EXPECT_LE(timer.seconds(), 12);
  EXPECT_THROW(comm.call("ncclAllReduce", [](void*) { return kNcclSuccess; }), core::Error);
}

TEST_F(NcclGpu, AnAbortEndsAWaitingStart) {
  NcclComm comm(real_nccl(), "rank 0 (cuda:0)");
  const NcclId id = unique_id();
  expect_abort_ends(
      std::chrono::seconds(1), [&] { comm.abort(); }, [&] { comm.join(2, id, 0, 60); });
}

TEST_F(NcclGpu, WrongArgumentsAreErrorsThatNameTheRank) {
  NcclComm comm(real_nccl(), "rank 0 (cuda:0)");
  try {
    comm.join(/*size=*/1, unique_id(), /*rank=*/3, 10);
    FAIL() << "no error";
  } catch (const core::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("rank 0 (cuda:0)"));
    EXPECT_THAT(error.what(), HasSubstr("NCCL_DEBUG=INFO"));
  }
}

}  // namespace
}  // namespace snell::dist
