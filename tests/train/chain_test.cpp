// The chain of a run: lines that lead from one to the next, whatever befell the run between two steps.
#include "snell/train/chain.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "snell/core/error.h"
#include "support/scratch.h"

namespace snell::train {
namespace {

ChainPart part_at(int64_t step, uint64_t state) {
  return {step, 2, {"program", "avx2", 1, "cpu"}, {state, 0}, {}, {{"seed", 5}}};
}

ChainRecord record_of(int64_t step) {
  const auto number = static_cast<uint64_t>(step);
  return {step, {{number, 1}, {number, 2}}, {number, 3}, {number, 4}, 0.1 / static_cast<double>(step), {}};
}

class ChainFile : public ::testing::Test {
 protected:
  // Steps (from, to], by a process of its own that begins where the state is `state`.
  void write(int64_t from, uint64_t state, int64_t to, bool resumed, const std::string& link = "") {
    ChainWriter writer(path_, {from, 2, {"program", "avx2", 1, "cpu"}, {state, from == 0 ? 0u : 4u}, {}, {}}, resumed,
                       link);
    for (int64_t step = from + 1; step <= to; ++step) writer.add(record_of(step));
    writer.flush();
  }
  void expect_refused(const std::string& words) {
    try {
      read_chain(path_);
      FAIL() << "no error with '" << words << "'";
    } catch (const core::WeightsError& error) {
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
  }
  test::Scratch scratch_;
  std::string path_ = scratch_ / "chain.jsonl";
};

TEST_F(ChainFile, IsReadBackAsItWasWritten) {
  write(0, 7, 3, false);
  const Chain chain = read_chain(path_);
  EXPECT_EQ(chain.first_step(), 0);
  EXPECT_EQ(chain.last_step(), 3);
  EXPECT_EQ(chain.state_after(0), (core::Hash128{7, 0}));
  EXPECT_EQ(chain.record(2).shards, record_of(2).shards);
  EXPECT_EQ(chain.record(2).loss, record_of(2).loss);
  EXPECT_EQ(chain.record(3).link, next_link(chain.record(2).link, record_of(3)));
  EXPECT_EQ(chain.record(1).link, next_link(first_link(0, {7, 0}), record_of(1)));
  EXPECT_FALSE(chain.covers(4));
}

TEST_F(ChainFile, EveryFieldIsInTheLink) {
  const core::Hash128 before{1, 2};
  const auto link = [&](auto change) {
    ChainRecord record = record_of(5);
    change(record);
    return next_link(before, record).hex();
  };
  const std::string same = link([](ChainRecord&) {});
  EXPECT_EQ(same, link([](ChainRecord& r) { r.link = {9, 9}; })) << "but its own";
  EXPECT_NE(same, link([](ChainRecord& r) { r.step = 6; }));
  EXPECT_NE(same, link([](ChainRecord& r) { r.shards[1].high ^= 1; }));
  EXPECT_NE(same, link([](ChainRecord& r) { r.shards.pop_back(); }));
  EXPECT_NE(same, link([](ChainRecord& r) { r.sum.low ^= 1; }));
  EXPECT_NE(same, link([](ChainRecord& r) { r.state.low ^= 1; }));
  EXPECT_NE(same, link([](ChainRecord& r) { r.loss = std::nextafter(r.loss, 1); }));
  EXPECT_NE(same, next_link({1, 3}, record_of(5)).hex());
}

TEST_F(ChainFile, AResumedRunDropsWhatCameAfterItsCheckpoint) {
  write(0, 7, 6, false);
  const std::string at_four = read_chain(path_).link_after(4).hex(), at_six = read_chain(path_).link_after(6).hex();
  std::ofstream(path_, std::ios::app) << R"({"event": "step", "ste)";  // killed while it wrote
  write(4, 4, 6, true, at_four);
  const Chain chain = read_chain(path_);
  EXPECT_EQ(chain.link_after(6).hex(), at_six) << "as if nothing had happened";
  ASSERT_EQ(chain.parts.size(), 2u);
  EXPECT_EQ(chain.part_of(4).step, 0);
  EXPECT_EQ(chain.part_of(5).step, 4);
  write(6, 6, 6, true, at_six);  // stopped again before it made a step
  write(6, 6, 8, true, at_six);
  EXPECT_EQ(read_chain(path_).parts.size(), 3u);
  EXPECT_EQ(read_chain(path_).last_step(), 8);
}

TEST_F(ChainFile, AFreshRunKeepsAnEarlierChainBeside) {
  write(0, 7, 2, false);
  write(0, 8, 1, false);
  EXPECT_EQ(read_chain(path_).state_after(0), (core::Hash128{8, 0}));
  EXPECT_EQ(read_chain(path_ + ".previous").last_step(), 2);
}

TEST_F(ChainFile, BeginsAnewWhereTheOldOneDoesNotReach) {
  write(20, 20, 22, true);  // there was none
  EXPECT_EQ(read_chain(path_).first_step(), 20);
  write(30, 30, 31, true);  // the run went on without one
  EXPECT_EQ(read_chain(path_).first_step(), 30);
  EXPECT_EQ(read_chain(path_ + ".previous").last_step(), 22);
}

TEST_F(ChainFile, AnotherRunsChainIsRefused) {
  write(0, 7, 6, false);
  const std::string before = test::slurp(path_);
  EXPECT_THROW(write(4, 4, 6, true, core::Hash128{1, 1}.hex()), core::WeightsError);
  EXPECT_THROW(write(4, 5, 6, true), core::WeightsError) << "another state";
  EXPECT_EQ(test::slurp(path_), before);
}

TEST_F(ChainFile, DamageIsNamedByLineAndStep) {
  write(0, 7, 4, false);
  const std::string sound = test::slurp(path_);
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = sound;
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    std::ofstream(path_) << text.replace(at, from.size(), to);
  };
  changed(record_of(3).shards[1].hex(), record_of(2).shards[1].hex());
  expect_refused("chain.jsonl:4: the link of step 3 does not fit");
  changed(R"("step":2)", R"("step":3)");
  expect_refused("step 3 comes after step 1");
  changed(core::Hash128{7, 0}.hex(), core::Hash128{8, 0}.hex());
  expect_refused("chain.jsonl:1: its link does not fit");
  changed(R"("sum")", R"("sun")");
  expect_refused("chain.jsonl:2: no line of a chain");
  changed(R"("format":1)", R"("format":2)");
  expect_refused("its format is not 1");
  std::ofstream(path_) << sound.substr(0, 20);
  expect_refused("holds no chain");
}

TEST_F(ChainFile, ALossThatIsNotFiniteHasALine) {
  ChainRecord record = record_of(1);
  record.loss = std::numeric_limits<double>::infinity();
  ChainWriter(path_, part_at(0, 7), false, "").add(record);
  EXPECT_TRUE(std::isnan(read_chain(path_).record(1).loss));
}

}  // namespace
}  // namespace snell::train
