// Where a job keeps its frozen projection weights.
#pragma once

#include <memory>
#include <utility>

#include "snell/core/frozen_storage.h"
#include "snell/dist/control_plane.h"
#include "snell/train/job_config.h"

namespace snell::train {

// What the config asks for, for one model in `place`; null: plain tensors. Collective. Throws ConfigError, or
// AgreedError, where settings do not go together.
std::shared_ptr<core::FrozenStorage> make_frozen_storage(const JobConfig& config, const nn::TensorPlace& place,
                                                         dist::ControlPlane& control);
// The type, device and storage of a model. Collective, and throws, as above.
nn::TensorPlace make_place(const JobConfig& config, c10::Device device, dist::ControlPlane& control);

// What `storage` (null: nothing) fetched since the last call.
class FetchMeter {
 public:
  core::FetchTotals since_last(const core::FrozenStorage* storage) {
    if (storage == nullptr) return {};
    const core::FetchTotals now = storage->fetched(), before = std::exchange(last_, now);
    return {now.bytes - before.bytes, now.exposed_seconds - before.exposed_seconds};
  }

 private:
  core::FetchTotals last_;
};

}  // namespace snell::train
