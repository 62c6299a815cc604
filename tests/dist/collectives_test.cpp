// Every collective of every communicator against what it should give, for every type and odd sizes. A communicator is
// one row of kRows.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "collective_chain.h"
#include "fake_nccl.h"
#include "snell/dist/control_plane.h"
#include "snell/dist/mpi_communicator.h"
#include "snell/dist/nccl_communicator.h"
#include "snell/dist/self_communicator.h"
#include "snell/dist/two_level.h"

namespace snell::dist {

namespace {

struct Row {
  std::string name;
  std::function<std::unique_ptr<Communicator>(ControlPlane&)> make;
  bool half = true;  // also float16 and bfloat16
};

std::vector<std::string> g_stream_calls;

// Of two nodes: two ranks each where there are four.
int64_t node_size_of(int size) {
  return size == 4 ? 2 : 1;
}

// Parts of 400 elements stand for MPI's limit of 2^31.
const std::vector<Row> kRows = {
    {"mpi", [](ControlPlane&) { return std::make_unique<MpiCommunicator>(); }},
    {"mpi_in_parts", [](ControlPlane&) { return std::make_unique<MpiCommunicator>("parts", 400); }},
    {"nccl_logic",
     [](ControlPlane& control) {
       return std::make_unique<NcclCommunicator>(fake_nccl(), fake_stream(&g_stream_calls), control, at::kCPU);
     },
     false},
    {"two_level",
     [](ControlPlane& control) {
       const NodeLayout nodes = node_layout(control, node_size_of(control.size()));
       return std::make_unique<TwoLevelCommunicator>(
           TwoLevelCommunicator::Parts{std::make_unique<MpiCommunicator>(),
                                       std::make_unique<MpiCommunicator>("node", nodes.within),
                                       std::make_unique<MpiCommunicator>("across", nodes.across)},
           make_thread_chain());
     }},
};

class Collectives : public ::testing::TestWithParam<Row> {
 protected:
  void SetUp() override {
    control_ = make_control_plane();
    comm_ = GetParam().make(*control_);
    rank_ = comm_->rank();
    size_ = comm_->size();
  }

  std::vector<at::ScalarType> types() const {
    std::vector<at::ScalarType> all = {at::kFloat, at::kDouble, at::kLong, at::kInt, at::kByte};
    if (GetParam().half) all.insert(all.end(), {at::kHalf, at::kBFloat16});
    return all;
  }

  // Small whole numbers, so that every sum is exact in every type. Different on every rank.
  static at::Tensor values(int64_t numel, int rank, at::ScalarType type) {
    return (at::arange(numel, at::kLong) * (rank + 1) % 13 + rank).to(type);
  }
  at::Tensor all_values(int64_t numel, at::ScalarType type) const {
    std::vector<at::Tensor> rows;
    for (int rank = 0; rank < size_; ++rank) rows.push_back(values(numel, rank, type));
    return at::stack(rows);
  }

  std::unique_ptr<ControlPlane> control_;
  std::unique_ptr<Communicator> comm_;
  int rank_ = 0;
  int size_ = 1;
};

const std::vector<int64_t> kSizes = {0, 1, 3, 7, 1001};

}  // namespace

TEST_P(Collectives, AllReduce) {
  for (const auto type : types()) {
    for (const int64_t numel : kSizes) {
      const at::Tensor all = all_values(numel, at::kLong);
      at::Tensor sum = values(numel, rank_, type), low = sum.clone(), high = sum.clone();
      comm_->all_reduce(sum, ReduceOp::kSum);
      comm_->all_reduce(low, ReduceOp::kMin);
      comm_->all_reduce(high, ReduceOp::kMax);
      EXPECT_TRUE(sum.equal(all.sum(0).to(type))) << type << " " << numel;
      if (numel == 0) continue;
      EXPECT_TRUE(low.equal(all.amin(0).to(type))) << type << " " << numel;
      EXPECT_TRUE(high.equal(all.amax(0).to(type))) << type << " " << numel;
    }
  }
}

TEST_P(Collectives, Broadcast) {
  for (const auto type : types()) {
    for (const int64_t numel : kSizes) {
      for (int root = 0; root < size_; ++root) {
        at::Tensor tensor = values(numel, rank_, type);
        comm_->broadcast(tensor, root);
        EXPECT_TRUE(tensor.equal(values(numel, root, type))) << type << " " << numel;
      }
    }
  }
  EXPECT_THROW(comm_->broadcast(at::zeros({1}), size_), core::Error);
}

TEST_P(Collectives, AllGather) {
  for (const auto type : types()) {
    for (const int64_t numel : kSizes) {
      at::Tensor output = at::zeros({size_, numel}, type);
      comm_->all_gather(values(numel, rank_, type), output);
      EXPECT_TRUE(output.equal(all_values(numel, type))) << type << " " << numel;
    }
  }
}

TEST_P(Collectives, ReduceScatter) {
  for (const auto type : types()) {
    for (const int64_t numel : kSizes) {
      const at::Tensor input = values(numel * size_, rank_, type);
      at::Tensor output = at::zeros({numel}, type);
      comm_->reduce_scatter(input, output, ReduceOp::kSum);
      const at::Tensor sum = all_values(numel * size_, at::kLong).sum(0);
      EXPECT_TRUE(output.equal(sum.narrow(0, rank_ * numel, numel).to(type))) << type << " " << numel;
    }
  }
}

TEST_P(Collectives, AllToAll) {
  for (const auto type : types()) {
    for (const int64_t numel : kSizes) {
      at::Tensor output = at::zeros({size_, numel}, type);
      comm_->all_to_all(values(numel * size_, rank_, type), output);
      const at::Tensor wanted = all_values(numel * size_, type).view({size_, size_, numel}).select(1, rank_);
      EXPECT_TRUE(output.equal(wanted)) << type << " " << numel;
    }
  }
}

// Many in flight, waited for in another order than started.
TEST_P(Collectives, AsynchronousReductionsMayBeWaitedForInAnyOrder) {
  constexpr int kMany = 100;
  std::vector<at::Tensor> tensors;
  std::vector<std::unique_ptr<Work>> works;
  for (int i = 0; i < kMany; ++i) {
    tensors.push_back(at::full({1 + i * 37 % 5000}, static_cast<double>(i + rank_), at::kDouble));
    works.push_back(comm_->all_reduce_async(tensors.back(), ReduceOp::kSum));
  }
  for (int i = kMany - 1; i >= 0; --i) {
    const auto index = static_cast<size_t>((i * 7 + rank_) % kMany);
    works[index]->wait();
    works[index]->wait();  // waiting twice is allowed
    const double wanted = static_cast<double>(index) * size_ + size_ * (size_ - 1) / 2.0;
    EXPECT_TRUE(tensors[index].eq(wanted).all().item<bool>()) << index;
  }
  comm_->barrier();
}

TEST_P(Collectives, GathersAndScattersMayBeUnderWayTogether) {
  std::vector<at::Tensor> gathered, scattered;
  std::vector<std::unique_ptr<Work>> works;
  for (int64_t i = 0; i < 20; ++i) {
    gathered.push_back(at::zeros({size_, 100 + i}, at::kDouble));
    works.push_back(comm_->all_gather_async(values(100 + i, rank_, at::kDouble), gathered.back()));
    scattered.push_back(at::zeros({100 + i}, at::kDouble));
    works.push_back(
        comm_->reduce_scatter_async(values((100 + i) * size_, rank_, at::kDouble), scattered.back(), ReduceOp::kSum));
  }
  for (auto work = works.rbegin(); work != works.rend(); ++work) (*work)->wait();
  for (int64_t i = 0; i < 20; ++i) {
    const at::Tensor sum = all_values((100 + i) * size_, at::kDouble).sum(0);
    EXPECT_TRUE(gathered[static_cast<size_t>(i)].equal(all_values(100 + i, at::kDouble))) << i;
    EXPECT_TRUE(scattered[static_cast<size_t>(i)].equal(sum.narrow(0, rank_ * (100 + i), 100 + i))) << i;
  }
}

TEST_P(Collectives, BlockingOnesMayComeWhileOthersAreUnderWay) {
  at::Tensor large = at::full({100'000}, 1.0, at::kFloat);
  const auto work = comm_->all_reduce_async(large, ReduceOp::kSum);
  at::Tensor small = at::full({1}, static_cast<double>(rank_), at::kFloat);
  comm_->broadcast(small, size_ - 1);
  EXPECT_EQ(small.item<float>(), static_cast<float>(size_ - 1));
  work->wait();
  EXPECT_TRUE(large.eq(static_cast<double>(size_)).all().item<bool>());
}

TEST_P(Collectives, WorkThatIsNotWaitedForHoldsItsTensor) {
  comm_->all_reduce_async(at::full({100'000}, 1.0), ReduceOp::kSum);
  comm_->barrier();
}

TEST_P(Collectives, CountsPayloadBytesByKind) {
  comm_->all_reduce(at::zeros({10}, at::kFloat), ReduceOp::kSum);
  comm_->all_reduce(at::zeros({3}, at::kByte), ReduceOp::kSum);
  comm_->broadcast(at::zeros({10}, at::kDouble), 0);
  comm_->all_gather(at::zeros({5}, at::kFloat), at::zeros({5 * size_}, at::kFloat));
  comm_->reduce_scatter(at::zeros({5 * size_}, at::kFloat), at::zeros({5}, at::kFloat), ReduceOp::kSum);
  comm_->all_to_all(at::zeros({size_}, at::kInt), at::zeros({size_}, at::kInt));
  comm_->barrier();
  EXPECT_EQ(comm_->bytes("all_reduce"), 43);
  EXPECT_EQ(comm_->bytes("broadcast"), 80);
  EXPECT_EQ(comm_->bytes("all_gather"), 20);
  EXPECT_EQ(comm_->bytes("reduce_scatter"), 20 * size_);
  EXPECT_EQ(comm_->bytes("all_to_all"), 4 * size_);
  EXPECT_THROW(comm_->bytes("allreduce"), core::Error);
  const double R = size_;
  EXPECT_DOUBLE_EQ(comm_->wire_bytes("all_reduce"), 43 * 2 * (R - 1) / R);
  EXPECT_DOUBLE_EQ(comm_->wire_bytes("broadcast"), 80 * (R - 1) / R);
  EXPECT_DOUBLE_EQ(comm_->wire_bytes("all_gather"), 20 * (R - 1));
  EXPECT_DOUBLE_EQ(comm_->wire_bytes("reduce_scatter"), 20 * (R - 1));
  EXPECT_DOUBLE_EQ(comm_->wire_bytes("all_to_all"), 4 * (R - 1));
  // Each rank of a node of two takes its half across, and all take the last byte of three.
  const int64_t across = size_ == 4 ? 20 + 1 + 1 : 43;
  EXPECT_EQ(comm_->bytes_across_nodes(), GetParam().name == "two_level" ? across : 0);
}

TEST_P(Collectives, RefuseTensorsThatTheyCannotMove) {
  EXPECT_THROW(comm_->all_reduce(at::zeros({4, 4}).t().narrow(0, 0, 2), ReduceOp::kSum), core::Error);
  EXPECT_THROW(comm_->all_reduce(at::zeros({4}, at::kBool), ReduceOp::kSum), core::Error);
  EXPECT_THROW(comm_->all_reduce(at::Tensor(), ReduceOp::kSum), core::Error);
  EXPECT_THROW(comm_->all_reduce(at::empty({4}, at::kMeta), ReduceOp::kSum), core::Error);
  EXPECT_THROW(comm_->all_gather(at::zeros({4}), at::zeros({4 * size_ + 1})), core::Error);
  EXPECT_THROW(comm_->all_gather(at::zeros({4}), at::zeros({4 * size_}, at::kDouble)), core::Error);
  EXPECT_THROW(comm_->reduce_scatter(at::zeros({4 * size_ + 1}), at::zeros({4}), ReduceOp::kSum), core::Error);
  at::Tensor same = at::zeros({4 * size_});
  EXPECT_THROW(comm_->all_to_all(same, same), core::Error);
}

INSTANTIATE_TEST_SUITE_P(Rows, Collectives, ::testing::ValuesIn(kRows), [](const auto& row) { return row.param.name; });

TEST(SelfCommunicator, Copies) {
  SelfCommunicator self;
  at::Tensor input = at::arange(6, at::kFloat), output = at::zeros({1, 6});
  self.all_gather(input, output);
  EXPECT_TRUE(output.view(-1).equal(input));
  output.zero_();
  self.reduce_scatter(input, output, ReduceOp::kSum);
  EXPECT_TRUE(output.view(-1).equal(input));
  at::Tensor exchanged = at::zeros({6});
  self.all_to_all(input, exchanged);
  EXPECT_TRUE(exchanged.equal(input));
  self.all_reduce(input, ReduceOp::kMax);
  self.broadcast(input, 0);
  EXPECT_TRUE(exchanged.equal(input));
  EXPECT_EQ(self.bytes("all_reduce"), 24);
  EXPECT_EQ(self.size(), 1);
  EXPECT_THROW(self.broadcast(input, 1), core::Error);
}

}  // namespace snell::dist
