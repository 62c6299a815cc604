// snell: one program, a subcommand a job.
#include <iostream>

#include "app.h"
#include "snell/core/log.h"
#include "snell/core/version.h"
#include "snell/train/tensor_memory.h"

int main(int argc, char** argv) {
  using namespace snell;
  train::keep_freed_tensors();
  core::start_logging("snell", {});
  CLI::App app(
      "Distributed SNELL: sparse fine-tuning of large frozen vision backbones.\n"
      "Example: mpirun -np 2 snell train experiment=vtab/snell32/cifar backbone=vit_tiny_patch16_224");
  app.set_version_flag("--version", core::version());
  app.require_subcommand(1);
  apps::Action chosen;
  apps::add_convert(app, chosen);
  apps::add_train(app, chosen);
  apps::add_eval(app, chosen);
  apps::add_predict(app, chosen);
  apps::add_export(app, chosen);
  apps::add_compare(app, chosen);
  apps::add_inspect(app, chosen);
  apps::add_doctor(app, chosen);
  apps::add_bench(app, chosen);
  apps::add_plan(app, chosen);
  apps::add_verify(app, chosen);
  apps::add_slurm(app, chosen);
  apps::add_weights(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : static_cast<int>(core::ExitCode::kConfig);
  }
  try {
    const int code = chosen();
    core::flush_logs();
    return code;
  } catch (const std::exception& error) {
    return apps::report_error(error);
  }
}
