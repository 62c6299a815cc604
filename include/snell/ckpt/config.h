// Settings of the `checkpoint` section.
#pragma once

#include <cstdint>
#include <string>

namespace snell::config {
class Binder;
}

namespace snell::ckpt {

struct CheckpointConfig {
  int64_t every_steps = 0;             // save each so many steps; 0: not by steps
  int64_t every_epochs = 1;            // save at the end of each so many epochs; 0: not by epochs
  int64_t keep = 2;                    // the newest ones that stay
  bool keep_best = true;               // the best one stays besides
  std::string folder = "checkpoints";  // inside the run's folder, or an absolute path
};

void bind(config::Binder& binder, CheckpointConfig& config);

// Where a run's checkpoints lie.
std::string checkpoint_root(const std::string& run_dir, const CheckpointConfig& config);

}  // namespace snell::ckpt
