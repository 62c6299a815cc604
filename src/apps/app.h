// What the subcommands share: their registration, the way into MPI, and the config of a command line.
#pragma once

#include <CLI/CLI.hpp>

#include <functional>
#include <string>
#include <vector>

#include "snell/config/compose.h"
#include "snell/dist/control_plane.h"
#include "snell/train/job_config.h"

namespace snell::apps {

// Runs after parsing; the process's exit code.
using Action = std::function<int()>;

// Each adds one subcommand and sets `chosen` when it is the one typed.
void add_convert(CLI::App& app, Action& chosen);
void add_train(CLI::App& app, Action& chosen);
void add_eval(CLI::App& app, Action& chosen);
void add_predict(CLI::App& app, Action& chosen);
void add_export(CLI::App& app, Action& chosen);
void add_compare(CLI::App& app, Action& chosen);
void add_inspect(CLI::App& app, Action& chosen);
void add_doctor(CLI::App& app, Action& chosen);
void add_bench(CLI::App& app, Action& chosen);
void add_plan(CLI::App& app, Action& chosen);
void add_verify(CLI::App& app, Action& chosen);
void add_slurm(CLI::App& app, Action& chosen);
void add_weights(CLI::App& app, Action& chosen);

// Which of a run's weights a command looks at.
struct WhichWeights {
  std::string checkpoint = "last", weights = "model";
};
// --checkpoint and --weights.
void add_checkpoint_options(CLI::App& command, WhichWeights& which);

// Starts MPI, runs `body`, and turns errors into exit codes: an error that all ranks agreed on ends MPI in the ordinary
// way, any other stops all ranks.
int with_mpi(const std::function<int(dist::ControlPlane&)>& body);

// Prints an error for a person, and gives its exit code.
int report_error(const std::exception& error, int rank = 0, bool quiet = false);

// A composed config, bound.
struct Job {
  config::Composed composed;
  train::JobConfig config;
  std::string yaml, json;
};

// From configs/ and the overrides of the command line.
Job compose_job(const std::string& config_dir, const std::vector<std::string>& overrides);
// From a run's own config.yaml and overrides.
Job job_of_run(const std::string& run_dir, const std::vector<std::string>& overrides);

}  // namespace snell::apps
