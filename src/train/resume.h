// What a run keeps in its checkpoints, and how it goes on from them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "snell/ckpt/checkpoint.h"
#include "snell/dist/control_plane.h"
#include "snell/train/hooks.h"
#include "snell/train/job_config.h"

namespace snell::train {

// The checkpoint that run.resume asks for, or nullopt for a fresh start. Collective. Throws ConfigError when "never"
// meets a folder with checkpoints (nothing is overwritten) or "must" finds none.
std::optional<std::string> choose_checkpoint(const JobConfig& config, dist::ControlPlane& control);

ckpt::TrainState checkpoint_state(const Position& position, uint64_t seed, const std::string& config_json,
                                  std::vector<ckpt::TensorRef> tensors);
Position position_of(const ckpt::Manifest& manifest);

// Throws ConfigError when the checkpoint belongs to another model, seed or data; warns of other settings that changed.
void check_same_job(const ckpt::Manifest& manifest, const std::string& config_json, const std::string& path);

}  // namespace snell::train
