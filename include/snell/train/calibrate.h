// How fast this machine computes and talks, measured: the numbers of a machine file.
#pragma once

#include <functional>
#include <string>

#include "snell/dist/control_plane.h"
#include "snell/plan/machine.h"

namespace snell::train {

// On the ranks of `control`, all at the same time as in a training run; then, where they share one machine whose cores
// they may all use, on rank 0 alone. Rates come from single operations and from steps of four small models (a ViT and a
// Swin, adapted and fully trained) that are taken apart operation by operation; they are none of the published sizes,
// so that a published size judges what is foretold of it. Collective; about a minute on a quiet machine; the result is
// rank 0's. CPU only: throws ConfigError where the ranks' devices are GPUs. `tell` hears what is being measured.
plan::Machine calibrate(dist::ControlPlane& control, const std::function<void(const std::string&)>& tell);

}  // namespace snell::train
