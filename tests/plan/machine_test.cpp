// Machine files: the shipped ones, changes from the command line, and back.
#include "snell/plan/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "snell/core/error.h"
#include "support/scratch.h"

namespace snell::plan {
namespace {

using ::testing::HasSubstr;

std::string error_of(const std::string& name, const std::vector<std::string>& overrides = {}) {
  try {
    read_machine(name, "", overrides);
  } catch (const core::ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(Machine, TheShippedOnesAreRead) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(SNELL_SOURCE_DIR "/machines")) {
    names.push_back(entry.path().stem().string());
    const Machine machine = read_machine(names.back(), "", {});
    EXPECT_GT(machine.rates.gemm_gflops, 1) << names.back();
    EXPECT_GT(machine.memory_bytes_a_rank(machine.ranks_per_node), 1e9) << names.back();
  }
  EXPECT_THAT(names, ::testing::IsSupersetOf({"a100x8", "cpu2", "h100x8"}));
  EXPECT_THAT(read_machine("h100x8", "", {}).source, HasSubstr("computed, not measured"));
}

TEST(Machine, TheCommandLineChangesNumbers) {
  const Machine machine = read_machine("h100x8", "", {"inter_node_gbit=1", "rates.gemm_gflops=80", "nodes=4"});
  EXPECT_EQ(machine.inter_node_gbit, 1);
  EXPECT_EQ(machine.rates.gemm_gflops, 80);
  EXPECT_EQ(machine.nodes, 4);
}

TEST(Machine, WhatIsWrongIsNamed) {
  EXPECT_THAT(error_of("h100"), HasSubstr("Did you mean 'h100x8'?"));
  EXPECT_THAT(error_of("h100x8", {"inter_node_gbits=1"}), HasSubstr("inter_node_gbit"));
  EXPECT_THAT(error_of("h100x8", {"inter_node_gbit=0"}), HasSubstr("inter_node_gbit"));
  EXPECT_THAT(error_of("h100x8", {"reserved_gb=100"}), HasSubstr("reserved_gb"));
  EXPECT_THAT(error_of("missing.yaml"), HasSubstr("missing.yaml"));
}

TEST(Machine, GoesToAFileAndBack) {
  Machine machine = read_machine("a100x8", "", {});
  machine.shared_cores = true;
  machine.rates_alone.ranks = 1;
  machine.rates_alone.gemm_gflops = 7;
  const test::Scratch scratch;
  const std::string path = scratch / "mine.yaml";
  std::ofstream(path) << to_yaml(machine);
  const Machine back = read_machine(path, "", {});
  EXPECT_EQ(to_yaml(back), to_yaml(machine));
  EXPECT_EQ(back.rates_of(1).gemm_gflops, 7);
}

TEST(Machine, RanksShareWhatANodeHas) {
  Machine machine;
  machine.shared_cores = true;
  machine.memory_gb = 32;
  machine.rates.ranks = 2;
  machine.rates.gemm_gflops = 50;
  machine.rates.delta_build_ns = 4;
  EXPECT_EQ(machine.rates_of(2).gemm_gflops, 50);
  EXPECT_EQ(machine.rates_of(4).gemm_gflops, 25);
  EXPECT_EQ(machine.rates_of(4).delta_build_ns, 8);
  EXPECT_EQ(machine.rates_of(1).gemm_gflops, 100);
  EXPECT_EQ(machine.memory_bytes_a_rank(4), 8e9);
  machine.shared_cores = false;
  EXPECT_EQ(machine.rates_of(8).gemm_gflops, 50);
  EXPECT_EQ(machine.memory_bytes_a_rank(8), 32e9);
}

}  // namespace
}  // namespace snell::plan
