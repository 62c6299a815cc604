// The text of every error of composing, and what Hydra has no counterpart of.
#include "snell/config/compose.h"

#include <gmock/gmock.h>

#include <random>

#include "temp_configs.h"

namespace snell::config {
namespace {

using ::testing::HasSubstr;
using namespace std::string_view_literals;

// A small tree like the shipped one.
class Compose : public ::testing::Test {
 protected:
  void SetUp() override {
    files.write(
        "config",
        "defaults:\n  - optim: adamw\n  - data: cub\n  - _self_\n  - experiment: null\nseed: 0\nrun:\n  name: x\n");
    files.write("optim/adamw", "name: adamw\nlr: 1e-3\nbetas: [0.9, 0.999]\n");
    files.write("optim/sgd", "name: sgd\nlr: 0.1\n");
    files.write("data/cub", "name: cub\nfile: ???\n");
    files.write("data/vtab/cifar", "name: cifar\n");
    files.write("experiment/a", "# @package _global_\ndefaults:\n  - override /optim: sgd\nseed: 3\n");
  }

  Node root(const std::vector<std::string>& overrides) { return compose(files.path(), "config", overrides).root; }

  TempConfigs files;
};

TEST_F(Compose, RemembersOriginsOverridesAndChoices) {
  std::vector<std::string> overrides = {"experiment=a", "optim.lr=0.5"};
  Composed composed = compose(files.path(), "config", overrides);
  EXPECT_EQ(composed.overrides, overrides);
  EXPECT_EQ(composed.choices.at("optim"), "sgd");
  EXPECT_EQ(composed.choices.at("experiment"), "a");
  EXPECT_EQ(root({}).select("optim.lr")->number(), 1e-3);
  EXPECT_EQ(composed.root.select("optim.lr")->origin().text(), "command line: 'optim.lr=0.5'");
  EXPECT_THAT(composed.root.select("optim.name")->origin().text(), HasSubstr("optim/sgd.yaml:1"));
  EXPECT_THAT(composed.root.select("seed")->origin().text(), HasSubstr("experiment/a.yaml:4"));
  EXPECT_EQ(compose(files.path(), "config", {}).choices.at("experiment"), "null");
}

TEST_F(Compose, RefusesOverridesWithWhatIsAllowed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"optim=adam",
       "command line: 'optim=adam': 'adam' is no option of 'optim'; options: adamw, sgd. Did you mean 'adamw'?"},
      {"data=cifar",
       "command line: 'data=cifar': 'cifar' is no option of 'data'; options: cub, vtab/cifar. Did you mean "
       "'vtab/cifar'?"},
      {"data=../optim/sgd",
       "command line: 'data=../optim/sgd': '../optim/sgd' is no option of 'data'; options: cub, vtab/cifar"},
      {"optim.lrr=1",
       "command line: 'optim.lrr=1': unknown key 'optim.lrr'; 'optim' has: name, lr, betas. Did you mean 'lr'? To add "
       "a "
       "new key write +optim.lrr=1"},
      {"lr=1",
       "command line: 'lr=1': unknown key 'lr'; the top level has: optim, data, seed, run. There is optim.lr. To add a "
       "new "
       "key write +lr=1"},
      {"sed=1",
       "command line: 'sed=1': unknown key 'sed'; the top level has: optim, data, seed, run. Did you mean 'seed'? To "
       "add a "
       "new key write +sed=1"},
      {"seed.x=1", "command line: 'seed.x=1': 'seed' is 0 (config.yaml:6), which has no keys"},
      {"optim.betas.2=1", "command line: 'optim.betas.2=1': 'optim.betas' is a list of 2 elements"},
      {"+seed=1", "command line: '+seed=1': 'seed' is already there (config.yaml:6); write seed=... to change it"},
      {"~sed",
       "command line: '~sed': unknown key 'sed'; the top level has: optim, data, seed, run. Did you mean 'seed'?"},
      {"~seed=1", "command line: '~seed=1': 'seed' is 0 (config.yaml:6), not 1"},
      {"~optim=sgd",
       "command line: '~optim=sgd': nothing to delete: optim=sgd is not in the defaults list; groups: data, "
       "experiment, "
       "optim. Did you mean 'optim'?"},
      {"optim@x=sgd",
       "command line: 'optim@x=sgd': no defaults list names the group 'optim@x', so it cannot be overridden; groups: "
       "data, "
       "experiment, optim. Did you mean 'optim'?. To add it to the defaults list write +optim@x=sgd"},
      {"optm/x=sgd", "command line: 'optm/x=sgd': there is no group 'optm/x'; groups: data, experiment, optim"},
      {"++optim=sgd", "command line: '++optim=sgd': '++' is for settings; a group takes optim=option or +optim=option"},
      {"seed=1,2",
       "command line: 'seed=1,2': a list is written in brackets, [a,b]; a comma in text needs quotes (character 7)"},
      {"seed", "command line: 'seed': expected '=' and a value (character 5)"},
      {"=1", "command line: '=1': expected a key, as in optim.lr=0.001 (character 1)"},
      {"seed=[1", "command line: 'seed=[1': expected ',' or ']' (character 8)"},
      {"seed={a:1", "command line: 'seed={a:1': expected ',' or '}' (character 10)"},
      {"seed='a", "command line: 'seed='a': a quote is not closed (character 8)"},
      {"seed=a(b)",
       "command line: 'seed=a(b)': '(' needs quotes around the value, or a backslash in front of it (character 7)"},
      {"seed=${a", "command line: 'seed=${a': a '${' is not closed (character 9)"},
      {"seed..x=1", "'seed..x' has an empty part: keys are written as section.key"},
      {"run.name=${nope}",
       "run.name = '${nope}' (command line: 'run.name=${nope}'): there is no 'nope'; the top level has: optim, data, "
       "seed, "
       "run"},
      {"run.name=${optim.nam}",
       "run.name = '${optim.nam}' (command line: 'run.name=${optim.nam}'): there is no 'optim.nam'; optim has: name, "
       "lr, "
       "betas. Did you mean 'name'?"},
      {"run.name=${.name}",
       "run.name (command line: 'run.name=${.name}'): interpolations refer to each other: run.name -> run.name"},
      {"run.name=${oc.evn:X}",
       "run.name = '${oc.evn:X}' (command line: 'run.name=${oc.evn:X}'): unknown resolver 'oc.evn'; known: oc.env, "
       "oc.decode. Did you mean 'oc.env'?"},
      {"run.name=${oc.env:SNELL_TEST_UNSET}",
       "run.name = '${oc.env:SNELL_TEST_UNSET}' (command line: 'run.name=${oc.env:SNELL_TEST_UNSET}'): the environment "
       "variable SNELL_TEST_UNSET is not set, and there is no default: ${oc.env:SNELL_TEST_UNSET,default}"},
      {"run.name=${....a}",
       "run.name = '${....a}' (command line: 'run.name=${....a}'): ${....a} goes above the top of the config"},
      {"run.name=a${run}", "run (config.yaml:8): interpolations refer to each other: run -> run.name -> run"},
      {"run.name=a${optim}",
       "run.name = 'a${optim}' (command line: 'run.name=a${optim}'): ${optim} is a mapping, not text"},
  };
  for (const auto& [override, message] : cases) EXPECT_EQ(files.error_of({override}), message);
}

TEST_F(Compose, RefusesDefaultsListsWithFileAndLine) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"defaults: optim", "p.yaml:1: defaults must be a list"},
      {"defaults:\n- [a]", "p.yaml:2: defaults: expected `_self_`, a config's name, or `group: option`; got a list"},
      {"defaults:\n- a: 1\n  b: 2",
       "p.yaml:2: defaults: expected `_self_`, a config's name, or `group: option`; got a mapping"},
      {"defaults:\n- optin: adamw", "p.yaml:2: 'adamw' is no option of 'optin'; there is no such group in "},
      {"defaults:\n- nothing", "p.yaml:2: 'nothing' is no config; options: "},
      {"defaults:\n- optim: ???", "optim must be chosen (p.yaml:2): write optim=OPTION. Options: adamw, sgd"},
      {"defaults:\n- optim: {a: b}", "p.yaml:2: defaults: optim: expected an option's name, a list of names, or null"},
      {"defaults:\n- _self_\n- _self_", "`_self_` stands twice in the defaults list"},
      {"defaults:\n- override optim: sgd\n- data: cub",
       "p.yaml:3: defaults: `override` entries stand at the end of the list"},
      {"defaults:\n- data: cub\n- override optim: sgd",
       "p.yaml:3: no defaults list names the group 'optim', so it cannot be overridden; groups: data"},
      {"defaults:\n- optim: adamw\n- optim: sgd",
       "p.yaml:2: optim: adamw is a second choice for 'optim', which is already sgd. To change a choice write "
       "`override /optim: adamw`"},
      {"defaults:\n- sudo optim: sgd",
       "p.yaml:2: defaults: 'sudo' before 'optim': only `optional` and `override` may stand there"},
      {"defaults:\n- p", "the defaults list of 'p' leads back to itself"},
      {"defaults:\n- optim: ${nope}", "p.yaml:2: '${nope}': no group 'nope' has been chosen"},
      {"- 1", "p.yaml:1: expected a mapping of settings; got a list"},
      {"# @package a b\nx: 1", "p.yaml:1: the header is written `# @package NAME`"},
      {"a: 1\na: 2", "p.yaml:2: duplicate key 'a': it is already in line 1"},
  };
  for (const auto& [yaml, message] : cases) {
    files.write("p", yaml);
    EXPECT_THAT(files.error_of({}, "p"), HasSubstr(message));
  }
  EXPECT_THAT(files.error_of({}, "absent"), HasSubstr("there is no config 'absent.yaml' in "));
}

TEST_F(Compose, RefusesCyclesAndBombsOfInterpolations) {
  files.write("p", "a: ${b}\nb: ${c.d}\nc:\n  d: ${a}\n");
  EXPECT_EQ(files.error_of({}, "p"), "a (p.yaml:1): interpolations refer to each other: a -> b -> c.d -> a");
  std::string bomb = "a0: xxxxxxxxxxxxxxxx\n";
  for (int i = 1; i < 60; ++i) bomb += core::str("a", i, ": ${a", i - 1, "}${a", i - 1, "}\n");
  files.write("p", bomb);
  EXPECT_THAT(files.error_of({}, "p"), HasSubstr("the config is too large once its interpolations are expanded"));
  bomb = "a0: {x: 1}\n";
  for (int i = 1; i < 60; ++i) bomb += core::str("a", i, ": ['${a", i - 1, "}', '${a", i - 1, "}']\n");
  files.write("p", bomb);
  EXPECT_THAT(files.error_of({}, "p"), HasSubstr("the config is too large once its interpolations are expanded"));
  files.write("p", "x: 1\n");
  EXPECT_THAT(files.error_of({"+" + std::string(200, 'a') + std::string(70'000, 'b') + "=1"}, "p"),
              HasSubstr("64 KiB"));
  std::string deep = "+x2=";
  for (int i = 0; i < 100; ++i) deep += "[";
  EXPECT_THAT(files.error_of({deep}, "p"), HasSubstr("nested deeper than 64 levels"));
  std::string path = "+a";
  for (int i = 0; i < 100; ++i) path += ".a";
  EXPECT_THAT(files.error_of({path + "=1"}, "p"), HasSubstr("a key has at most 32 parts"));
}

TEST_F(Compose, RefusesDefaultsListsThatMultiply) {
  for (int i = 0; i < 30; ++i) files.write(core::str("c", i), core::str("defaults:\n- c", i + 1, "\n- c", i + 1, "\n"));
  files.write("c30", "x: 1\n");
  EXPECT_THAT(files.error_of({}, "c0"), HasSubstr("the defaults lists name more than 500 configs"));
}

// Overrides with a few characters changed: applied or refused, never anything else.
TEST_F(Compose, MutatedOverridesNeverCrash) {
  const std::vector<std::string> sources = {"optim.lr=1e-3",        "run={name: 'a b', n: [1, {x: y}]}",
                                            "+a.b.c=${optim.lr}",   "~optim.betas=[1,2]",
                                            "data=vtab/cifar",      "optim@x.y=sgd",
                                            "run.name=\"it\\\"s\"", "run.name=${oc.env:HOME,'a,b'}\\,c"};
  constexpr auto interesting = "+~@=.[]{}:,'\"\\$ ${}/0a\xff\0"sv;
  std::mt19937 random(11);
  auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  size_t taken = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string text = sources[below(sources.size())];
    for (size_t i = 0, edits = 1 + below(3); i < edits; ++i) {
      if (below(2) == 0)
        text.insert(below(text.size() + 1), 1, interesting[below(interesting.size())]);
      else
        text.erase(below(text.size()), 1);
    }
    taken += files.error_of({text}) == "no error" ? 1 : 0;
  }
  EXPECT_GT(taken, 100u);
}

TEST_F(Compose, MandatoryValuesStayVisibleUntilTheyAreSet) {
  EXPECT_EQ(root({}).select("data.file")->kind(), Kind::kMissing);
  EXPECT_EQ(root({"data.file=x.h5"}).select("data.file")->text(), "x.h5");
  Node copied = root({"run.name=${data.file}-1"});
  EXPECT_EQ(copied.select("run.name")->kind(), Kind::kMissing);
  EXPECT_THAT(copied.select("run.name")->origin().text(), HasSubstr("data/cub.yaml:2"));
}

TEST_F(Compose, TextInInterpolationsIsSpelledAsYaml) {
  Node node = root({"+a=true", "+b=null", "run.name='${a} ${b} ${optim.lr}'"});
  EXPECT_EQ(node.select("run.name")->text(), "true null 0.001");
}

TEST_F(Compose, EarlierFoldersWinFileByFile) {
  TempConfigs own;
  own.write("optim/sgd", "name: mine\n");
  own.write("experiment/b", "# @package _global_\ndefaults:\n  - override /optim: sgd\n");
  ConfigSearchPath both{{own.path().folders[0], files.path().folders[0]}};
  std::vector<std::string> overrides = {"experiment=b"};
  EXPECT_EQ(compose(both, "config", overrides).root.select("optim.name")->text(), "mine");
  overrides = {};
  EXPECT_EQ(compose(both, "config", overrides).root.select("optim.name")->text(), "adamw");
}

}  // namespace
}  // namespace snell::config
