// snell: one program, a subcommand a job.
#include <malloc.h>

#include <cstdlib>
#include <iostream>

#include "app.h"
#include "snell/core/log.h"
#include "snell/core/version.h"

namespace {

// The C library raises the size from which blocks go back to the system when they are freed, up to 32 MB, as such
// blocks come; a training step's activations then stay in its heap in pieces, a quarter to a third of the peak. Setting
// the size keeps it where it starts (docs/performance.md has what that saves and costs); who set it in the environment
// knows better.
void give_back_freed_memory() {
  constexpr int kBytes = 128 * 1024;
  if (std::getenv("MALLOC_MMAP_THRESHOLD_") == nullptr) mallopt(M_MMAP_THRESHOLD, kBytes);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace snell;
  give_back_freed_memory();
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
