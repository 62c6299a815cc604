#include "snell/config/binder.h"

#include <gmock/gmock.h>

#include "snell/config/loader.h"
#include "snell/config/node.h"
#include "snell/core/error.h"

namespace snell::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Schedule {
  std::string name = "cosine";
  int64_t warmup_epochs = 10;
};

void bind(Binder& b, Schedule& c) {
  b.field("name", c.name, "shape of the curve", one_of({"cosine", "constant"}));
  b.field("warmup_epochs", c.warmup_epochs, "epochs of linear warm-up", at_least(0));
}

struct Settings {
  bool flag = false;
  int64_t count = 1;
  uint64_t seed = 0;
  double lr = 0.001;
  std::string name = "snell";
  std::optional<int64_t> max_steps;
  std::optional<double> clip;
  std::vector<int64_t> sizes = {1, 2};
  std::vector<double> betas = {0.9, 0.999};
  std::vector<std::string> targets = {"q", "k"};
  Schedule schedule;
};

void bind(Binder& b, Settings& c) {
  b.field("flag", c.flag, "a switch");
  b.field("count", c.count, "a count", in_range(0, 100));
  b.field("seed", c.seed, "a seed");
  b.field("lr", c.lr, "peak learning rate", positive());
  b.field("name", c.name, "a name");
  b.field("max_steps", c.max_steps, "stop early", at_least(1));
  b.field("clip", c.clip, "largest norm", positive());
  b.field("sizes", c.sizes, "sizes", at_least(1));
  b.field("betas", c.betas, "momenta", fraction());
  b.field("targets", c.targets, "projections", one_of({"q", "k", "v"}));
  b.section("schedule", c.schedule);
  b.require(c.betas.size() == 2, "betas", "must have two elements");
}

Settings bound(const std::string& yaml) {
  Settings settings;
  bind_section(parse_yaml(yaml, "test.yaml"), "", settings);
  return settings;
}

std::string error_of(const std::string& yaml) {
  try {
    bound(yaml);
  } catch (const core::ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Binder, ReadsEveryType) {
  Settings s = bound(
      "flag: yes\ncount: 1_0\nseed: 18446744073709551615\nlr: 1e-3\nname: 2024\nmax_steps: 5\nclip: 1\n"
      "sizes: [3]\nbetas: [0, 1.0]\ntargets: [v]\nschedule: {name: constant, warmup_epochs: 0}\n");
  EXPECT_TRUE(s.flag);
  EXPECT_EQ(s.count, 10);
  EXPECT_EQ(s.seed, 18446744073709551615u);
  EXPECT_EQ(s.lr, 1e-3);
  EXPECT_EQ(s.name, "2024");
  EXPECT_EQ(s.max_steps, 5);
  EXPECT_EQ(s.clip, 1.0);
  EXPECT_THAT(s.sizes, ElementsAre(3));
  EXPECT_THAT(s.betas, ElementsAre(0.0, 1.0));
  EXPECT_THAT(s.targets, ElementsAre("v"));
  EXPECT_EQ(s.schedule.name, "constant");
  EXPECT_EQ(s.schedule.warmup_epochs, 0);
}

TEST(Binder, MissingKeysAndSectionsKeepTheStructsDefaults) {
  Settings s = bound("schedule:\n");
  EXPECT_EQ(s.count, 1);
  EXPECT_EQ(s.schedule.name, "cosine");
  EXPECT_EQ(bound("max_steps: null").max_steps, std::nullopt);
}

TEST(Binder, RefusesWithKeyPlaceAndWhatIsAllowed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"count: 1.0", "count = 1.0 (test.yaml:1): expected an integer in [0, 100]"},
      {"\ncount: '1'", "count = '1' (test.yaml:2): expected an integer in [0, 100]"},
      {"count: 010", "count = '010' (test.yaml:1): expected an integer in [0, 100]"},
      {"count: 101", "count = 101 (test.yaml:1): expected an integer in [0, 100]"},
      {"count: null", "count = null (test.yaml:1): expected an integer in [0, 100]"},
      {"count: true", "count = true (test.yaml:1): expected an integer in [0, 100]"},
      {"count: 9223372036854775808",
       "count = 9223372036854775808 (test.yaml:1): expected an integer in [0, 100], between -9223372036854775808 and "
       "9223372036854775807"},
      {"seed: -1", "seed = -1 (test.yaml:1): expected a non-negative integer, between 0 and 18446744073709551615"},
      {"lr: 0", "lr = 0 (test.yaml:1): expected a number > 0"},
      {"lr: 1e999", "lr = 1e999 (test.yaml:1): expected a number > 0 that fits a double"},
      {"lr: .nan", "lr = .nan (test.yaml:1): expected a number > 0 that fits a double"},
      {"lr: fast", "lr = 'fast' (test.yaml:1): expected a number > 0"},
      {"lr: [1]", "lr = a list (test.yaml:1): expected a number > 0"},
      {"lr: ???", "lr must be set: test.yaml:1 says ??? (mandatory). Expected a number > 0; write lr=VALUE"},
      {"flag: 1", "flag = 1 (test.yaml:1): expected true or false"},
      {"flag: maybe", "flag = 'maybe' (test.yaml:1): expected true or false"},
      {"name: {a: 1}", "name = a mapping (test.yaml:1): expected a string"},
      {"name:", "name = null (test.yaml:1): expected a string"},
      {"max_steps: 0", "max_steps = 0 (test.yaml:1): expected an integer >= 1"},
      {"sizes: 3", "sizes = 3 (test.yaml:1): expected a list of integers >= 1"},
      {"sizes:\n- 1\n- 0", "sizes[1] = 0 (test.yaml:3): expected an integer >= 1"},
      {"betas: [0.9, 1.5]", "betas[1] = 1.5 (test.yaml:1): expected a number in [0, 1]"},
      {"betas: [0.9]", "betas = a list (test.yaml:1): must have two elements"},
      {"targets: [q, fc1]", "targets[1] = 'fc1' (test.yaml:1): expected one of q, k, v"},
      {"schedule: {name: cosin}",
       "schedule.name = 'cosin' (test.yaml:1): expected one of cosine, constant. Did you mean 'cosine'?"},
      {"schedule: cosine", "schedule = 'cosine' (test.yaml:1): expected a mapping of settings"},
      {"[1]", "the config = a list (test.yaml:1): expected a mapping of settings"},
  };
  for (const auto& [yaml, message] : cases) EXPECT_EQ(error_of(yaml), message);
}

TEST(Binder, NamesAllUnknownKeysAndWhereTheyBelong) {
  std::string error = error_of("nam: x\nschedule:\n  warmup_epoch: 1\n  lr: 0.1\n");
  EXPECT_THAT(error, HasSubstr("unknown key nam (test.yaml:1); the top level has: flag, count,"));
  EXPECT_THAT(error, HasSubstr("Did you mean 'name'?"));
  EXPECT_THAT(error, HasSubstr("unknown key schedule.warmup_epoch (test.yaml:3); schedule has: name, warmup_epochs. "
                               "Did you mean 'schedule.warmup_epochs'?"));
  EXPECT_THAT(error,
              HasSubstr("unknown key schedule.lr (test.yaml:4); schedule has: name, warmup_epochs. There is lr"));
}

TEST(Binder, TheErrorsExitCodeIsThatOfTheConfig) {
  try {
    bound("lr: -1");
    FAIL();
  } catch (const core::Error& error) {
    EXPECT_EQ(error.exit_code(), core::ExitCode::kConfig);
  }
}

TEST(Binder, DescribesEveryFieldWithoutReadingOrChecking) {
  Settings settings;
  settings.betas = {};
  auto fields = describe_section("optim", settings);
  ASSERT_EQ(fields.size(), 12u);
  EXPECT_EQ(fields[1].key, "optim.count");
  EXPECT_EQ(fields[1].type, "an integer");
  EXPECT_EQ(fields[1].default_value, "1");
  EXPECT_EQ(fields[1].doc, "a count");
  EXPECT_EQ(fields[1].limits, "in [0, 100]");
  EXPECT_EQ(fields[3].default_value, "0.001");
  EXPECT_EQ(fields[5].default_value, "null");
  EXPECT_EQ(fields[9].default_value, "[\"q\",\"k\"]");
  EXPECT_EQ(fields[10].key, "optim.schedule.name");
}

}  // namespace
}  // namespace snell::config
