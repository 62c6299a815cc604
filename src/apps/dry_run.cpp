// snell train --dry-run --ranks N: would a run of many ranks start and fit?
#include "dry_run.h"

#include <iostream>

#include "snell/core/log.h"
#include "snell/report/table.h"
#include "snell/train/dry_run.h"

namespace snell::apps {

int dry_run_ranks(const std::string& config_dir, std::vector<std::string> overrides, const DryRunOptions& o,
                  bool json) {
  core::start_logging("snell", {0, "", true});  // what became of each weight, to read now
  std::vector<std::string> of_machine;
  std::erase_if(overrides, [&](const std::string& text) {
    const bool is_machines = text.starts_with("machine.");
    if (is_machines) of_machine.push_back(text.substr(std::string("machine.").size()));
    return is_machines;
  });
  std::optional<plan::Machine> machine;
  if (!o.machine.empty()) machine = plan::read_machine(o.machine, config_dir, of_machine);
  if (!machine && !of_machine.empty()) {
    throw core::ConfigError("machine.key=value needs --machine: a name such as h100x8, or a file");
  }
  const Job job = compose_job(config_dir, overrides);
  train::DryRunRequest request;
  request.ranks = {*o.ranks, o.ranks_per_node.value_or(machine ? machine->ranks_per_node : *o.ranks)};
  if (machine) request.machine = &*machine;
  const auto findings = train::dry_run(job.config, request);
  report::Table table({{"check", "check"}, {"status", ""}, {"found", "what was found"}});
  for (const auto& finding : findings) table.add({finding.check, status_name(finding.status), finding.text});
  std::cout << (json ? table.json().dump(2) + "\n" : table.text());
  return static_cast<int>(exit_code_of(findings));
}

void add_dry_run_options(CLI::App& command, DryRunOptions& o) {
  command
      .add_option("--ranks", o.ranks,
                  "with --dry-run: check everything for so many ranks, without starting them (also: ranks=N)")
      ->check(CLI::Range(1, 1 << 20));
  command.add_option("--machine", o.machine, "with --ranks: of this kind, a file of machines/ or one with its .yaml");
  command
      .add_option("--ranks-per-node,--gpus-per-node", o.ranks_per_node, "with --ranks: default: the machine's, or all")
      ->check(CLI::Range(1, 1 << 16));
}

void take_dry_run_overrides(std::vector<std::string>& overrides, DryRunOptions& o, bool dry_run) {
  const std::string key = "ranks=";
  std::erase_if(overrides, [&](const std::string& text) {
    const bool is_ranks = dry_run && text.starts_with(key);
    if (is_ranks && !CLI::detail::lexical_cast(text.substr(key.size()), o.ranks.emplace())) {
      throw core::ConfigError(core::str("'", text, "': ranks= wants a whole number of ranks"));
    }
    return is_ranks;
  });
  if (o.ranks && *o.ranks < 1) throw core::ConfigError(core::str("ranks=", *o.ranks, ": must be at least 1"));
  if (o.ranks && !dry_run) {
    throw core::ConfigError(core::str("--ranks belongs to --dry-run; to train with ", *o.ranks,
                                      " ranks, start it with mpirun -np ", *o.ranks, " or launch/mpirun.sh -n ",
                                      *o.ranks));
  }
  if (!o.ranks && (!o.machine.empty() || o.ranks_per_node)) {
    throw core::ConfigError("--machine and --ranks-per-node belong to --dry-run --ranks N");
  }
}

}  // namespace snell::apps
