// Several jobs from one command line, as Hydra's multirun makes them: key=a,b,c stands for three values, and the jobs
// are all combinations; or a file with one job a line.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace snell::config {

struct SweepPoint {
  // What sets it apart from the others, fit to be a folder's name: "optim.lr=0.001,seed=2". The same overrides have the
  // same name whatever else is swept. A text that had to be changed or cut ends in digits of its hash.
  std::string name;
  std::vector<std::string> overrides;  // all of them, each with one value
};

struct Sweep {
  std::vector<std::string> fixed;  // overrides that all points share
  std::vector<SweepPoint> points;  // lines outermost; then the grid, its last key fastest
};

constexpr int64_t kMaxSweepPoints = 10'000;

// `lines`: each the overrides of one job, with spaces in between; quotes and brackets hold a word together. Empty ones
// and those that start with '#' do not count. Combined with the grid that `overrides` span. Throws ConfigError: nothing
// to sweep, an empty value, two equal points, more than kMaxSweepPoints.
Sweep expand_sweep(std::span<const std::string> overrides, std::span<const std::string> lines);

// A text as an override's value that is read back as that text: quoted where it must be.
std::string override_value(const std::string& text);

}  // namespace snell::config
