// snell train: trains a run, or goes on with it.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "app.h"
#include "dry_run.h"
#include "snell/ckpt/trained_file.h"
#include "snell/config/settings_table.h"
#include "snell/core/log.h"
#include "snell/core/phase.h"
#include "snell/core/signals.h"
#include "snell/core/version.h"
#include "snell/data/transforms.h"
#include "snell/dist/watchdog.h"
#include "snell/io/files.h"
#include "snell/nn/ignored_settings.h"
#include "snell/report/table.h"
#include "snell/train/recorder.h"
#include "snell/train/trainer.h"

namespace snell::apps {
namespace {

struct Options {
  std::vector<std::string> overrides;
  std::string config_dir, cfg;
  bool dry_run = false, config_help = false, json = false;
  DryRunOptions dry;
};

// Replaces a file of the run's folder; another text that was there is kept as <name>.previous.
void write_keeping(const std::string& path, const std::string& text) {
  if (std::filesystem::exists(path)) {
    const auto old = io::read_file(path, 64 << 20, io::raise_data_error);
    if (std::string(reinterpret_cast<const char*>(old.data()), old.size()) == text) return;
    std::filesystem::rename(path, path + ".previous");
  }
  io::write_file(path, text);
}

void describe_run(const Job& job) {
  const std::string& dir = job.config.run.dir;
  write_keeping(dir + "/config.yaml", job.yaml);
  std::string overrides = "# snell " + core::version() + "\n";
  for (const auto& text : job.composed.overrides) overrides += "- '" + text + "'\n";
  write_keeping(dir + "/overrides.yaml", overrides);
}

// A batch script forwards its signals only once this file exists (slurm/train.sbatch).
void say_ready(const dist::ControlPlane& control) {
  core::catch_signals();
  if (const char* path = std::getenv("SNELL_READY_FILE"); path != nullptr && control.is_root())
    std::ofstream{path} << "\n";
}

void print_facts(const train::RunFacts& f, bool json) {
  report::Table table({{"key", "what"}, {"value", "value"}});
  table.add({"ranks", f.num_ranks});
  table.add({"device", f.device});
  table.add({"training samples", f.train_samples});
  table.add({"evaluation samples", f.eval_samples});
  table.add({"classes", f.num_classes});
  table.add({"backbone parameters", f.backbone_elements});
  table.add({"adapter parameters", f.adapter_elements});
  table.add({"trainable parameters", f.trainable_elements});
  table.add({"bytes all-reduced a step", f.num_ranks > 1 ? f.bytes_per_step : 0});
  table.add({"steps an epoch", f.steps_per_epoch});
  table.add({"steps in all", f.total_steps});
  table.add({"resumes from", f.resumed_from.value_or("(nothing)")});
  std::cout << (json ? table.json().dump(2) + "\n" : table.text());
}

int exit_code_for(int signal) {
  if (signal == 0) return 0;
  if (signal == SIGUSR1 || signal == SIGUSR2) return static_cast<int>(core::ExitCode::kRequeue);
  return 128 + signal;
}

int train_on(dist::ControlPlane& control, const Options& o) {
  say_ready(control);
  Job job;
  control.all_or_none([&] {
    job = compose_job(o.config_dir, o.overrides);
    if (!o.dry_run) std::filesystem::create_directories(job.config.run.dir + "/logs");
  });
  if (!o.dry_run) {
    core::start_logging("snell", {control.rank(), job.config.run.dir + "/logs", false});
    core::log_info(core::str("snell ", core::version(), ", rank ", control.rank(), " of ", control.size(), " on ",
                             dist::ControlPlane::hostname()));
  } else {
    core::start_logging("snell", {control.rank(), "", control.is_root()});  // what became of each weight, to read now
  }
  if (control.is_root()) {
    for (const std::string& setting : data::ignored_settings(job.config.data.transform)) {
      core::log_warning(setting + " was changed, but the chosen transforms do not look at it");
    }
    for (const std::string& setting : nn::ignored_settings(job.config.backbone)) {
      core::log_warning(setting + " was changed, but backbone.name=" + job.config.backbone.name +
                        " does not look at it");
    }
  }
  std::optional<dist::Watchdog> watchdog;
  if (!o.dry_run) watchdog.emplace(job.config.dist.watchdog, control, job.config.run.dir + "/logs");
  train::Trainer trainer(job.config, job.json, control);
  if (o.dry_run) {
    if (control.is_root()) print_facts(trainer.facts(), o.json);
    return 0;
  }
  std::unique_ptr<train::Recorder> recorder;
  control.all_or_none([&] {
    if (!control.is_root()) return;
    describe_run(job);
    recorder = std::make_unique<train::Recorder>(job.config, trainer.facts(), trainer.position(), job.yaml);
  });
  if (recorder) trainer.add_hook(*recorder);
  const train::TrainResult result = trainer.run();
  control.all_or_none([&] {
    if (!recorder) return;
    const core::Phase phase(core::PhaseKind::kSave);
    if (job.config.checkpoint.every_steps > 0 || job.config.checkpoint.every_epochs > 0) {
      const std::map<std::string, std::string> about = {{"config", job.json}, {"version", core::version()}};
      ckpt::export_trained(job.config.run.dir + "/model.safetensors", trainer.trained(), about);
      if (const auto averaged = trainer.trained_ema(); !averaged.empty()) {
        ckpt::export_trained(job.config.run.dir + "/model_ema.safetensors", averaged, about);
      }
    }
    recorder->finish(result, o.json);
  });
  if (result.stop_signal != 0 && control.is_root()) {
    std::cerr << "snell: signal " << result.stop_signal << ": saved at step " << result.position.step
              << "; the same command goes on from there\n";
  }
  return exit_code_for(result.stop_signal);
}

int run(const Options& o) {
  if (o.config_help) {
    std::cout << config::help_text(config::find_configs(o.config_dir), "config") << "\nSettings:\n"
              << config::settings_text(config::describe_section<train::JobConfig>(""));
    return 0;
  }
  if (!o.cfg.empty()) {
    std::cout << compose_job(o.config_dir, o.overrides).yaml;
    return 0;
  }
  return with_mpi([&](dist::ControlPlane& control) {
    Options checked = o;
    take_dry_run_overrides(checked.overrides, checked.dry, o.dry_run);
    if (checked.dry.ranks) return dry_run_ranks(o.config_dir, checked.overrides, checked.dry, o.json);
    return train_on(control, o);
  });
}

}  // namespace

void add_train(CLI::App& app, Action& chosen) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "train",
      "Train, or go on with a run (run.resume=auto).\n"
      "Example: mpirun -np 2 snell train experiment=vtab/snell32/cifar run.dir=runs/cifar optim.lr=5e-4");
  command->add_option("overrides", o->overrides, "group=option, key=value, +key=value, ~key");
  command->add_option("--config-dir", o->config_dir, "a folder of own configs, in front of the shipped ones");
  command->add_option("--cfg", o->cfg, "job: print the composed config and stop")->check(CLI::IsMember({"job"}));
  command->add_flag("--dry-run", o->dry_run, "wire everything, print what would be trained, and stop");
  add_dry_run_options(*command, o->dry);
  command->add_flag("--json", o->json, "print the closing table (or the dry run's) as JSON");
  command->footer([o] {
    try {
      return config::help_text(config::find_configs(o->config_dir), "config");
    } catch (const core::ConfigError& error) {
      return std::string(error.what());
    }
  });
  command->add_flag("--config-help", o->config_help, "list the groups, their options, the defaults and every setting");
  command->callback([o, &chosen] { chosen = [o] { return run(*o); }; });
}

}  // namespace snell::apps
