#include "app.h"

#include <filesystem>
#include <iostream>

#include "snell/core/log.h"
#include "snell/dist/mpi.h"

namespace snell::apps {
namespace {

Job bind_job(config::Composed composed) {
  Job job;
  job.composed = std::move(composed);
  config::bind_section(job.composed.root, "", job.config);
  job.yaml = config::to_yaml(job.composed.root);
  job.json = config::to_json(job.composed.root);
  return job;
}

}  // namespace

void add_checkpoint_options(CLI::App& command, WhichWeights& which) {
  command
      .add_option("--checkpoint", which.checkpoint,
                  "last, best, a checkpoint's folder, or none: backbone.weights as it is")
      ->capture_default_str();
  command.add_option("--weights", which.weights, "model, or ema: their moving average")
      ->capture_default_str()
      ->check(CLI::IsMember({"model", "ema"}));
}

int report_error(const std::exception& error, int rank, bool quiet) {
  const auto* known = dynamic_cast<const core::Error*>(&error);
  const auto code = known != nullptr ? known->exit_code() : core::ExitCode::kInternal;
  if (!quiet) {
    // One write, or the lines of several ranks come out mixed.
    std::string line = "snell: ";
    if (code == core::ExitCode::kInternal) line += core::str("internal error on rank ", rank, ": ");
    line += error.what();
    if (code == core::ExitCode::kInternal && known != nullptr) line += core::str(" (", known->where(), ")");
    std::cerr << line + "\n";
  }
  return static_cast<int>(code);
}

int with_mpi(const std::function<int(dist::ControlPlane&)>& body) {
  dist::MpiSession mpi(nullptr, nullptr);
  const auto control = dist::make_control_plane();
  try {
    return body(*control);
  } catch (const dist::AgreedError& error) {
    return report_error(error, control->rank(), /*quiet=*/!control->is_root());
  } catch (const core::ReplicaError& error) {  // thrown on every rank
    return report_error(error, control->rank(), /*quiet=*/!control->is_root());
  } catch (const core::NonFiniteError& error) {  // thrown on every rank
    return report_error(error, control->rank(), /*quiet=*/!control->is_root());
  } catch (const std::exception& error) {
    const int code = report_error(error, control->rank());
    core::flush_logs();
    if (control->size() > 1) mpi.abort(static_cast<core::ExitCode>(code));
    return code;
  }
}

Job compose_job(const std::string& config_dir, const std::vector<std::string>& overrides) {
  return bind_job(config::compose(config::find_configs(config_dir), "config", overrides));
}

Job job_of_run(const std::string& run_dir, const std::vector<std::string>& overrides) {
  if (!std::filesystem::exists(run_dir + "/config.yaml")) {
    throw core::ConfigError(core::str(run_dir,
                                      " is not a run's folder: it has no config.yaml. Name the folder that "
                                      "`snell train` wrote (run.dir)."));
  }
  Job job = bind_job(config::compose({{run_dir}}, "config", overrides));
  job.config.run.dir = run_dir;
  return job;
}

}  // namespace snell::apps
