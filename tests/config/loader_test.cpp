// YAML files that are wrong or hostile, and the types of scalars.
#include "snell/config/loader.h"

#include <gmock/gmock.h>

#include <bit>
#include <random>

#include "snell/config/resolve.h"
#include "snell/config/scalar.h"
#include "temp_configs.h"

namespace snell::config {
namespace {

using ::testing::HasSubstr;
using namespace std::string_view_literals;

std::string error_of(const std::string& yaml) {
  try {
    parse_yaml(yaml, "f.yaml");
  } catch (const core::ConfigError& error) {
    return error.what();
  }
  return "no error";
}

std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

TEST(Loader, RefusesWithFileAndLine) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a: 1\nb: 2\na: 3\n", "f.yaml:3: duplicate key 'a': it is already in line 1"},
      {"x:\n  y: 1\n  'y': 2\n", "f.yaml:3: duplicate key 'y': it is already in line 2"},
      {"{a: 1, a: 2}", "f.yaml:1: duplicate key 'a': it is already in line 1"},
      {"a: &x [*x]", "f.yaml:1: an alias refers to the mapping or list that contains it"},
      {"a: &x\n  b: *x", "f.yaml:2: an alias refers to the mapping or list that contains it"},
      {"a: 1\n--- \nb: 2", "f.yaml:3: a second document; a config file holds one"},
      {"? [a]\n: 1", "f.yaml:1: a key must be a plain word, not a list or a mapping"},
      {"~: 1", "f.yaml:1: a key must be a plain word, not null, a list or a mapping"},
      {"'': 1", "f.yaml:1: an empty key"},
      {"a: !!python/object:os.system x",
       "f.yaml:1: the tag 'tag:yaml.org,2002:python/object:os.system' is not supported"},
      {"a: !foo {b: 1}", "f.yaml:1: the tag '!foo' is not supported"},
      {"<<: 1", "f.yaml:1: '<<' takes a mapping or a list of mappings"},
  };
  for (const auto& [yaml, message] : cases) EXPECT_EQ(error_of(yaml), message) << yaml;
  EXPECT_THAT(error_of("a: [1\nb: 2"), HasSubstr("f.yaml:2: not valid YAML: "));
  EXPECT_THAT(error_of("a: *nowhere"), HasSubstr("f.yaml:1: not valid YAML: "));
  EXPECT_THAT(error_of("a:\n\t- b"), HasSubstr("not valid YAML"));
}

TEST(Loader, RefusesBombs) {
  std::string laughs = "a0: &a0 [lol, lol]\n";
  for (int i = 1; i < 40; ++i)
    laughs += core::str("a", i, ": &a", i, " [*a", i - 1, ", *a", i - 1, ", *a", i - 1, "]\n");
  EXPECT_THAT(error_of(laughs), HasSubstr("too large once its aliases are expanded"));

  std::string heavy = core::str("a: &a ", repeated("x", 500'000), "\nb: [", repeated("*a,", 9000), "]");
  EXPECT_THAT(error_of(heavy), HasSubstr("too large once its aliases are expanded"));

  std::string chain = "a0: &a0 {x: 1}\n";
  for (int i = 1; i < 200; ++i) chain += core::str("a", i, ": &a", i, " {x: *a", i - 1, "}\n");
  EXPECT_THAT(error_of(chain), HasSubstr("nested deeper than 64 levels"));

  EXPECT_THAT(error_of(core::str(repeated("[", 65), repeated("]", 65))), HasSubstr("nested deeper than 64 levels"));
  EXPECT_EQ(error_of(core::str(repeated("[", 64), repeated("]", 64))), "no error");
  EXPECT_THAT(error_of(repeated("[", 100'000)), HasSubstr("f.yaml:1: "));
  EXPECT_THAT(error_of(repeated("{a: ", 100'000)), HasSubstr("f.yaml:1: "));
  EXPECT_THAT(error_of(repeated("- ", 100'000)), HasSubstr("f.yaml:1: "));
  EXPECT_THAT(error_of(core::str("a: ", repeated("x", 2 << 20))), HasSubstr("a config file has at most 1048576"));
  std::string wide;
  for (int i = 0; i < 20'000; ++i) wide += core::str("k", i, ": 1\n");
  EXPECT_THAT(error_of(wide), HasSubstr("a list or a mapping has at most 10000 entries"));
}

TEST(Loader, TypesScalarsAsOmegaConfButForOctalAndItsLike) {
  for (const char* text :
       {"010", "-07", "0x1F", "0b11", "1:30", "190:20:30", "2024-01-01", "1__0", "_1", "1_", "+", "."})
    EXPECT_TRUE(typed_scalar(text, Dialect::kFile, {}).is_string()) << text;
  EXPECT_EQ(typed_scalar("1e-3", Dialect::kFile, {}).kind(), Kind::kFloat);
  EXPECT_EQ(typed_scalar("12345678901234567890123", Dialect::kFile, {}).kind(), Kind::kInt);
  EXPECT_EQ(typed_scalar("12345678901234567890123", Dialect::kFile, {}).canonical(), "12345678901234567890123");
  EXPECT_EQ(typed_scalar("off", Dialect::kFile, {}).canonical(), "false");
  EXPECT_TRUE(typed_scalar("off", Dialect::kCommandLine, {}).is_string());
}

TEST(Loader, WritesDoublesThatReadBackTheSame) {
  EXPECT_EQ(format_double(1), "1.0");
  EXPECT_EQ(format_double(0.1), "0.1");
  EXPECT_EQ(format_double(1e-5), "1e-05");
  EXPECT_EQ(format_double(1e16), "1e+16");
  EXPECT_EQ(format_double(-0.0), "-0.0");
  std::mt19937_64 random(1);
  for (int i = 0; i < 10'000; ++i) {
    double value = std::bit_cast<double>(random());
    Node back = typed_scalar(format_double(value), Dialect::kFile, {});
    ASSERT_EQ(back.kind(), Kind::kFloat) << format_double(value);
    ASSERT_TRUE(value != value || back.number() == value);
  }
}

TEST(Loader, YamlOfATreeReadsBackEqual) {
  Node tree = parse_yaml(
      "a: [1, 2.5, 'x', \"1\", 'true', ~, '', 'a: b', '# c', '- d', \"line\\nbreak\", 'null', '???x', ' pad ', "
      "\"\\u00fc\"]\n"
      "b: {c: {}, d: [], e: [{f: 1}, [2, [3]], []], 'odd key: x': 1, on: 2}\nf: .inf\ng: '\\${literal}'\nh: ???\n"
      "i: 'back\\\\\\${x}'\n'1': one\n",
      "f.yaml");
  Node resolved = resolve_interpolations(tree);
  Node back = resolve_interpolations(parse_yaml(to_yaml(resolved), "back.yaml"));
  EXPECT_EQ(to_yaml(back), to_yaml(resolved));
  EXPECT_TRUE(back == resolved) << to_yaml(resolved);
  EXPECT_EQ(to_json(*resolved.find("b")->find("e")), "[{\"f\":1},[2,[3]],[]]");
}

TEST(Loader, KeepsTheLineOfEveryValue) {
  Node tree = parse_yaml("a:\n  - 1\n  - b: 2\n\nc: x\n", "f.yaml");
  EXPECT_EQ(tree.select("a.1.b")->origin().text(), "f.yaml:3");
  EXPECT_EQ(tree.select("a[0]")->origin().text(), "f.yaml:2");
  EXPECT_EQ(tree.select("c")->origin().text(), "f.yaml:5");
  EXPECT_EQ(tree.select("a.2"), nullptr);
}

// Files with a few bytes changed, cut or copied: composed or refused, never anything else.
TEST(Loader, MutatedFilesNeverCrash) {
  std::vector<std::string> sources;
  for (const char* name : {"config", "interp", "scalars", "experiment/nested", "server/apache", "mergekinds"})
    sources.push_back(read_config_file(core::str(SNELL_SOURCE_DIR "/tests/config/hydra/conf/", name, ".yaml")));
  constexpr auto interesting = "&*!|>{}[]:-?,#'\"%@`~$<=\n\t \\.10ae\0\xff"sv;
  std::mt19937 random(7);
  auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  size_t taken = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string text = sources[below(sources.size())];
    for (size_t i = 0, edits = 1 + below(6); i < edits; ++i) {
      size_t at = below(text.size());
      switch (below(4)) {
        case 0:
          text[at] = interesting[below(interesting.size())];
          break;
        case 1:
          text.insert(at, 1, interesting[below(interesting.size())]);
          break;
        case 2:
          text.erase(at, 1 + below(8));
          break;
        default:
          text.insert(at, text.substr(below(text.size()), below(40)));
      }
      if (text.empty()) text = " ";
    }
    try {
      Node tree = resolve_interpolations(parse_yaml(text, "mutated.yaml"));
      Node back = resolve_interpolations(parse_yaml(to_yaml(tree), "back.yaml"));
      EXPECT_EQ(to_yaml(back), to_yaml(tree));
      ++taken;
    } catch (const core::ConfigError&) {
    }
  }
  EXPECT_GT(taken, 100u);
}

}  // namespace
}  // namespace snell::config
