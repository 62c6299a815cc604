// Composition and scalars against Hydra's own results (hydra/expected.json, written by hydra/generate.py).
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "snell/config/compose.h"
#include "snell/core/error.h"

namespace snell::config {
namespace {

using Json = nlohmann::json;

const std::string kFolder = SNELL_SOURCE_DIR "/tests/config/hydra";

// Where this project takes what Hydra refuses (its lexer knows few characters, and no null for a group)...
const std::set<std::string> kTakenHere = {
    "db=null", "optim/schedule=null", "+x=~", "+x=#hash", "+x=a;b", "+x=ü", "+x=a&b", "+x=<b>"};
// ... and where it refuses what Hydra takes.
const std::set<std::string> kRefusedHere = {"+x={a:1,a:2}"};

TEST(Hydra, EveryCompositionHasHydrasResult) {
  setenv("SNELL_TEST_SET", "12", 1);
  unsetenv("SNELL_TEST_UNSET");
  ConfigSearchPath path{{kFolder + "/conf"}};
  std::ifstream file(kFolder + "/expected.json");
  Json cases = Json::parse(file);
  ASSERT_GT(cases.size(), 150u);
  for (const auto& item : cases) {
    std::vector<std::string> overrides = item["overrides"];
    std::string name = item["primary"].get<std::string>() + " " + item["overrides"].dump();
    bool refused = item["result"].is_null();
    try {
      Composed composed = compose(path, item["primary"], overrides);
      if (refused)
        EXPECT_TRUE(overrides.size() == 1 && kTakenHere.count(overrides[0])) << name << ": Hydra refuses this";
      else
        EXPECT_EQ(Json::parse(to_json(composed.root)), item["result"]) << name;
    } catch (const core::ConfigError& error) {
      EXPECT_TRUE(refused || kRefusedHere.count(overrides.back())) << name << ": " << error.what();
    }
  }
}

}  // namespace
}  // namespace snell::config
