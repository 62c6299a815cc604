// Groups of ranks, nodes, and communicators of fewer than all ranks.
#include "snell/dist/groups.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snell/dist/config.h"
#include "snell/dist/two_level.h"

namespace snell::dist {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace {

// Plays rank `rank` of a job whose ranks lie on the nodes `leaders`; what the others say is what they would say.
class Placed : public SelfControlPlane {
 public:
  Placed(std::vector<int> leaders, int rank) : leaders_(std::move(leaders)), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(leaders_.size()); }
  int node_leader() const override { return leaders_[static_cast<size_t>(rank_)]; }
  std::vector<int64_t> all_gather_ints(int64_t) override {
    std::vector<int64_t> out;
    for (int rank = 0; rank < size(); ++rank) {
      out.push_back(node_size > 0 ? rank / node_size : leaders_[static_cast<size_t>(rank)]);
    }
    return out;
  }
  int64_t node_size = 0;

 private:
  std::vector<int> leaders_;
  int rank_;
};

}  // namespace

TEST(Nodes, AreTheRanksThatShareAMachineWhereverTheyWerePut) {
  Placed control({0, 1, 0, 1, 0, 1}, 3);  // dealt out by turns
  const NodeLayout layout = node_layout(control, 0);
  EXPECT_THAT(layout.within.ranks, ElementsAre(1, 3, 5));
  EXPECT_EQ(layout.within.rank, 1);
  EXPECT_THAT(layout.across.ranks, ElementsAre(2, 3));
  EXPECT_EQ(layout.across.rank, 1);
  EXPECT_EQ(layout.num_nodes, 2);
  EXPECT_TRUE(layout.even);
}

TEST(Nodes, MayBeUneven) {
  Placed control({0, 0, 0, 3, 3}, 2);
  const NodeLayout layout = node_layout(control, 0);
  EXPECT_THAT(layout.within.ranks, ElementsAre(0, 1, 2));
  EXPECT_THAT(layout.across.ranks, ElementsAre(2));
  EXPECT_FALSE(layout.even);
}

TEST(Nodes, MayBeSoManyRanksEach) {
  Placed control({0, 0, 0, 0, 0, 0}, 4);
  control.node_size = 2;
  const NodeLayout layout = node_layout(control, 2);
  EXPECT_THAT(layout.within.ranks, ElementsAre(4, 5));
  EXPECT_THAT(layout.across.ranks, ElementsAre(0, 2, 4));
  EXPECT_EQ(layout.num_nodes, 3);
  control.node_size = 8;
  EXPECT_EQ(node_layout(control, 8).within.size(), 6) << "a job smaller than a node";
  try {
    node_layout(control, 4);
    FAIL();
  } catch (const core::ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("dist.node_size = 4 does not divide 6 ranks"));
  }
}

TEST(Nodes, OfThisJobAreOneMachine) {
  const auto control = make_control_plane();
  EXPECT_EQ(control->node_leader(), 0);
  const NodeLayout layout = node_layout(*control, 0);
  EXPECT_EQ(layout.within, whole_world(*control));
  EXPECT_EQ(layout.across.size(), 1);
  EXPECT_EQ(layout.num_nodes, 1);
}

TEST(Groups, ReduceAndGatherAmongThemselves) {
  const auto control = make_control_plane();
  const int rank = control->rank(), size = control->size();
  const RankGroup group = split_ranks(*control, rank % 2 == 0 ? -5 : 7);  // even ranks, odd ranks
  const auto comm = make_communicator({}, *control, at::kCPU, "halves", group);
  EXPECT_EQ(comm->size(), (size + 1 - rank % 2) / 2);
  EXPECT_EQ(comm->rank(), rank / 2);
  at::Tensor sum = at::full({3}, 1.0 + rank, at::kDouble);
  comm->all_reduce(sum, ReduceOp::kSum);
  double wanted = 0;
  for (int other : group.ranks) wanted += 1.0 + other;
  EXPECT_TRUE(sum.eq(wanted).all().item<bool>());
  at::Tensor all = at::zeros({comm->size()}, at::kLong);
  comm->all_gather(at::full({1}, rank, at::kLong), all);
  for (int i = 0; i < comm->size(); ++i) EXPECT_EQ(all[i].item<int64_t>(), group.ranks[static_cast<size_t>(i)]);
  EXPECT_EQ(comm->bytes("all_reduce"), 24);
}

TEST(Groups, OfOneRankEachNeedNoTransport) {
  const auto control = make_control_plane();
  const RankGroup alone = split_ranks(*control, control->rank());
  EXPECT_THAT(alone.ranks, ElementsAre(control->rank()));
  EXPECT_STREQ(make_communicator({}, *control, at::kCPU, "alone", alone)->name(), "self");
}

TEST(Groups, TwoOverlappingPartitionsAreUsedByTurns) {
  const auto control = make_control_plane();
  if (control->size() != 4) return;
  const NodeLayout layout = node_layout(*control, 2);
  const auto within = make_communicator({}, *control, at::kCPU, "within", layout.within);
  const auto across = make_communicator({}, *control, at::kCPU, "across", layout.across);
  at::Tensor value = at::full({1}, 1.0 + control->rank(), at::kDouble);
  for (int round = 0; round < 20; ++round) {
    within->all_reduce(value, ReduceOp::kSum);
    across->all_reduce(value, ReduceOp::kSum);
    EXPECT_EQ(value.item<double>(), 10.0);
    value.fill_(1.0 + control->rank());
  }
}

TEST(TwoLevel, IsTakenWhereItSavesAnything) {
  const auto control = make_control_plane();
  DistConfig config;
  const auto across = [&] {
    const auto comm = make_gradient_communicator(config, *control, at::kCPU);
    comm->all_reduce(at::zeros({64}, at::kFloat), ReduceOp::kSum);
    return comm->bytes_across_nodes();
  };
  EXPECT_EQ(across(), 0) << "one node";
  config.wire.node_size = 2;
  const bool two_nodes = control->size() == 4;
  EXPECT_EQ(across(), two_nodes ? 128 : 0);
  config.wire.two_level = "never";
  EXPECT_EQ(across(), 0);
  config.wire.two_level = "always";
  EXPECT_EQ(across(), two_nodes ? 128 : 0);
  config.reproducible = true;
  EXPECT_EQ(across(), 0);
  config.wire.reduce_dtype = "bfloat16";
  EXPECT_THROW(across(), core::ConfigError);
}

TEST(TwoLevel, WhatIsUnderWayMayBeGivenUp) {
  const auto control = make_control_plane();
  if (control->size() != 4) return;
  DistConfig config;
  config.wire.node_size = 2;
  auto comm = make_gradient_communicator(config, *control, at::kCPU);
  if (control->rank() != 3) {  // which never comes
    const at::Tensor tensor = at::zeros({64}, at::kFloat);
    const auto work = comm->all_reduce_async(tensor, ReduceOp::kSum);
    comm->abort();
    EXPECT_THROW(work->wait(), core::Error);
    EXPECT_THROW(comm->barrier(), core::Error);
  }
  comm.reset();  // does not wait for it either
  control->barrier();
}

TEST(RollCall, FindsEverybodyAgainAndAgain) {
  const auto control = make_control_plane();
  for (int i = 0; i < 3; ++i) EXPECT_THAT(control->roll_call(30), ElementsAre());
}

}  // namespace snell::dist
