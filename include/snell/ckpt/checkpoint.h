// Saving and loading a run. A checkpoint is a folder <root>/step-0000000120/ of one safetensors shard a rank (whole
// tensors, spread by size) and a manifest; it comes into being by one rename, so it is there as a whole or not at all.
// The trainer gives names with a prefix: "param/NAME", "optim/exp_avg/NAME", "thresholds/LAYER".
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "snell/ckpt/config.h"
#include "snell/ckpt/manifest.h"

namespace snell::dist {
class ControlPlane;
}

namespace snell::ckpt {

// A tensor that is alike on all ranks that have it: float16, bfloat16, float32, float64, int64, int32, uint8 or bool,
// on any device. A rank that does not have it holds its shape and type alone, on the meta device: another rank saves
// it, and loading leaves it out.
struct TensorRef {
  std::string name;
  at::Tensor tensor;
};

struct TrainState {
  int64_t step = 0;
  int64_t epoch = 0;
  int64_t step_in_epoch = 0;
  int64_t samples_seen = 0;
  uint64_t seed = 0;
  std::string config_hash;
  nlohmann::json metrics = nlohmann::json::object();
  nlohmann::json extra = nlohmann::json::object();
  std::vector<TensorRef> tensors;  // the same names, types and shapes on every rank
};

struct CheckpointInfo {
  std::string path;  // the committed folder
  int64_t step = 0;
  int64_t bytes = 0;  // of all files
  double seconds = 0;
};

// Writes a checkpoint of `state` and then, only then, removes older ones beyond `config.keep` (the newest one marked
// `is_best` stays when keep_best). Checkpoints of later steps are an abandoned course of the run: they are renamed out
// of the way, never removed. Collective; every rank sees the same root folder. When any rank cannot write, all ranks
// throw dist::AgreedError with ExitCode::kDisk, and what was there before is untouched.
CheckpointInfo save(const std::string& run_dir, const TrainState& state, dist::ControlPlane& control,
                    const CheckpointConfig& config, bool is_best = false);

// The newest checkpoint that is whole (manifest, sizes, checksums), or nullopt when the run has none. A damaged one is
// named in a warning and the next older is tried. Rank 0 looks, all ranks get its answer; all throw dist::AgreedError
// with ExitCode::kWeights when there are some but none is whole. Collective.
std::optional<std::string> find_latest(const std::string& run_dir, dist::ControlPlane& control,
                                       const CheckpointConfig& config = {});

// The newest whole one that was saved as the best; else as find_latest().
std::optional<std::string> find_best(const std::string& run_dir, dist::ControlPlane& control,
                                     const CheckpointConfig& config = {});

// Fills the given tensors, in place, from the checkpoint folder `path`, and returns its manifest. Strict: the names
// that start with `prefix` must be exactly those of `into` (which all start with it), of equal type and shape; every
// checksum is verified. No tensor is changed unless all are good. Any number of ranks: each reads all shards. Every
// rank throws dist::AgreedError with ExitCode::kWeights that names what is missing, unexpected, different or damaged.
// Collective.
Manifest load(const std::string& path, std::span<const TensorRef> into, dist::ControlPlane& control,
              const std::string& prefix = "");

}  // namespace snell::ckpt
