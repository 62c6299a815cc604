#include "snell/ckpt/config.h"

#include <filesystem>

#include "snell/config/binder.h"

namespace snell::ckpt {

void bind(config::Binder& b, CheckpointConfig& c) {
  b.field("every_steps", c.every_steps, "save each so many optimizer steps (0: not by steps), and at the end",
          config::at_least(0));
  b.field("every_epochs", c.every_epochs, "save at the end of each so many epochs (0: not by epochs; both 0: never)",
          config::at_least(0));
  b.field("keep", c.keep, "how many of the newest checkpoints stay", config::at_least(1));
  b.field("keep_best", c.keep_best, "keep the checkpoint of the best evaluation besides");
  b.field("folder", c.folder, "where they lie: inside the run's folder, or an absolute path");
  b.require(!c.folder.empty(), "folder", "must not be empty; the default is checkpoints");
}

std::string checkpoint_root(const std::string& run_dir, const CheckpointConfig& config) {
  return (std::filesystem::path(run_dir) / config.folder).lexically_normal().string();
}

}  // namespace snell::ckpt
