// snell train --dry-run --ranks N.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app.h"

namespace snell::apps {

struct DryRunOptions {
  std::optional<int64_t> ranks, ranks_per_node;  // ranks: not set: the ordinary dry run, of the ranks that were started
  std::string machine;
};

void add_dry_run_options(CLI::App& command, DryRunOptions& options);
// Takes ranks=N out of the overrides of a dry run. Throws ConfigError for options that do not go together.
void take_dry_run_overrides(std::vector<std::string>& overrides, DryRunOptions& options, bool dry_run);
// Prints what was found; the exit code that the run would end with.
int dry_run_ranks(const std::string& config_dir, std::vector<std::string> overrides, const DryRunOptions& options,
                  bool json);

}  // namespace snell::apps
