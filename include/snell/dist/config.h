// The section `dist` of the config, and the communicator that it asks for.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <memory>
#include <string>

#include "snell/dist/communicator.h"
#include "snell/dist/control_plane.h"
#include "snell/dist/groups.h"
#include "snell/dist/shard_config.h"
#include "snell/dist/watchdog_config.h"
#include "snell/dist/wire_config.h"

namespace snell::config {
class Binder;
}

namespace snell::dist {

struct DistConfig {
  std::string backend = "auto";
  int64_t bucket_mb = 25;
  int64_t check_replicas_every = 100;
  bool reproducible = false;
  int64_t virtual_shards = 8;
  ShardConfig shard = {};
  WireConfig wire = {};
  std::string chain = "auto";  // auto, true, false
  WatchdogConfig watchdog;
};

void bind(config::Binder& binder, DistConfig& config);

// Whether NCCL was compiled in (SNELL_CUDA=ON).
bool has_nccl();

// The device of this rank for `run.device`: "cpu"; "cuda" (the GPU with the number of the local rank); "auto" (CUDA
// when every rank has a GPU of its own, else CPU). Makes the GPU the current one. Collective; AgreedError (config) when
// a rank lacks the GPU that was asked for.
c10::Device choose_device(const std::string& wanted, ControlPlane& control);

// "auto": self for one rank, NCCL for CUDA, MPI for CPU. Collective. Throws ConfigError when the backend does not fit
// the device or the number of ranks. `purpose` names the underlying MPI communicator for tools.
std::unique_ptr<Communicator> make_communicator(const DistConfig& config, ControlPlane& control, c10::Device device,
                                                const std::string& purpose = "tensors");

// The same among the ranks of this rank's group: its ranks and sizes are those within the group. Collective over all
// ranks of the job. "auto" takes self for a group of one.
std::unique_ptr<Communicator> make_communicator(const DistConfig& config, ControlPlane& control, c10::Device device,
                                                const std::string& purpose, const RankGroup& group);

}  // namespace snell::dist
