// Grids and lists of overrides.
#include "snell/config/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snell/config/override.h"
#include "snell/core/error.h"

namespace snell::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> names(const Sweep& sweep) {
  std::vector<std::string> out;
  for (const auto& point : sweep.points) out.push_back(point.name);
  return out;
}

std::string error_of(const std::vector<std::string>& overrides, const std::vector<std::string>& lines = {}) {
  try {
    expand_sweep(overrides, lines);
  } catch (const core::ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Sweep, GridIsEveryCombinationLastKeyFastest) {
  const std::vector<std::string> typed{"experiment=a", "seed=0,1", "optim.lr=1e-3,5e-4"};
  const Sweep sweep = expand_sweep(typed, {});
  EXPECT_THAT(sweep.fixed, ElementsAre("experiment=a"));
  EXPECT_THAT(names(sweep), ElementsAre("seed=0,optim.lr=1e-3", "seed=0,optim.lr=5e-4", "seed=1,optim.lr=1e-3",
                                        "seed=1,optim.lr=5e-4"));
  EXPECT_THAT(sweep.points[2].overrides, ElementsAre("experiment=a", "seed=1", "optim.lr=1e-3"));
}

TEST(Sweep, CommasInsideQuotesAndBracketsDoNotSplit) {
  const std::vector<std::string> typed{"optim.betas=[0.9,0.99],[0.9,0.999]", "run.name='a,b',\"c\"",
                                       "x=a\\,b,{k: [1,2]}"};
  const Sweep sweep = expand_sweep(typed, {});
  ASSERT_EQ(sweep.points.size(), 8U);
  EXPECT_THAT(sweep.points[0].overrides, ElementsAre("optim.betas=[0.9,0.99]", "run.name='a,b'", "x=a\\,b"));
  EXPECT_THAT(sweep.points[7].overrides, ElementsAre("optim.betas=[0.9,0.999]", "run.name=\"c\"", "x={k: [1,2]}"));
}

TEST(Sweep, LinesAreJobsAndCombineWithTheGrid) {
  const std::vector<std::string> lines{"# learning rates", "", "optim.lr=1e-3  run.name='two words'",
                                       "optim.lr=2e-3\r"};
  const std::vector<std::string> typed{"seed=0,1", "experiment=a"};
  const Sweep sweep = expand_sweep(typed, lines);
  ASSERT_EQ(sweep.points.size(), 4U);
  EXPECT_THAT(sweep.points[1].overrides,
              ElementsAre("experiment=a", "optim.lr=1e-3", "run.name='two words'", "seed=1"));
  EXPECT_EQ(sweep.points[2].name, "optim.lr=2e-3,seed=0");
  EXPECT_EQ(expand_sweep({}, std::vector<std::string>{"seed=1"}).points.size(), 1U);
}

TEST(Sweep, NamesAreFitForFoldersAndStayApart) {
  const std::vector<std::string> typed{"backbone.weights=../a b/$(rm),../a_b/$(rm)",
                                       "x=" + std::string(300, 'y') + ",z"};
  const Sweep sweep = expand_sweep(typed, {});
  for (const std::string& name : names(sweep)) {
    EXPECT_LE(name.size(), 130U);
    EXPECT_EQ(name.find_first_of("/ $()'"), std::string::npos) << name;
  }
  EXPECT_NE(sweep.points[0].name, sweep.points[2].name);
  const std::vector<std::string> more{"seed=0,1,2"}, fewer{"seed=0,1"};
  EXPECT_EQ(expand_sweep(more, {}).points[1].name, expand_sweep(fewer, {}).points[1].name);
}

TEST(Sweep, Mistakes) {
  EXPECT_THAT(error_of({"seed=1", "a=[1,2]"}), HasSubstr("nothing to sweep"));
  EXPECT_THAT(error_of({"seed=1,,2"}), HasSubstr("an empty value between commas"));
  EXPECT_THAT(error_of({"seed=1,2,1"}), HasSubstr("the point 'seed=1' twice"));
  EXPECT_THAT(error_of({}, {"# nothing"}), HasSubstr("holds no line"));
  const std::string many = "a=" + [] {
    std::string out = "0";
    for (int i = 1; i < 101; ++i) out += "," + std::to_string(i);
    return out;
  }();
  EXPECT_THAT(error_of({many, "b" + many}), HasSubstr("more than 10000 points"));
  EXPECT_EQ(error_of({"~seed", "b=1,2"}), "no error");
}

TEST(OverrideValue, IsReadBackAsTheText) {
  for (const std::string text : {"plain/a-b_c.d", "two words", "it's", "a,b", "{x}", "[", "", "true", "back\\slash",
                                 "end\\", "\\'", "a\\\\'b", "ünï", "$HOME", "a=b", "\"quoted\""}) {
    const Override parsed = parse_override("run.name=" + override_value(text));
    ASSERT_TRUE(parsed.value.has_value());
    EXPECT_EQ(*parsed.value, Node::string(text, parsed.origin())) << override_value(text);
  }
}

}  // namespace
}  // namespace snell::config
