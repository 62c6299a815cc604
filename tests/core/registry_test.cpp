#include "snell/core/registry.h"

#include <gtest/gtest.h>

namespace snell::core {

TEST(Registry, UnknownNameIsAConfigErrorWithTheNearest) {
  Registry<int> registry("adapter");
  registry.add("snell", 1);
  registry.add("klora", 2);
  EXPECT_EQ(registry.get("klora"), 2);
  try {
    registry.get("snel");
    FAIL() << "accepted an unknown name";
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::kConfig);
    EXPECT_STREQ(error.what(), "unknown adapter 'snel'; known: klora, snell. Did you mean 'snell'?");
  }
}

TEST(Registry, RegisteringTwiceIsAnError) {
  Registry<int> registry("adapter");
  registry.add("snell", 1);
  EXPECT_THROW(registry.add("snell", 2), Error);
}

}  // namespace snell::core
