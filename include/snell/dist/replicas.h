// Every rank must train the same model: parameters are sent from rank 0 at the start, and compared from time to time.
#pragma once

#include <cstdint>
#include <span>

#include "snell/dist/communicator.h"
#include "snell/dist/control_plane.h"
#include "snell/dist/reducer.h"

namespace snell::dist {

// Collective. Throws ReplicaError on every rank when names, shapes or types of the tensors differ between ranks.
void check_same_layout(std::span<const NamedTensor> tensors, Communicator& communicator);

// Collective: rank 0's values, in place, on every rank. The layout is checked first.
void broadcast_parameters(std::span<const NamedTensor> trainables, Communicator& communicator);

// Collective: compares XXH3 hashes of all bytes. Throws ReplicaError on every rank when one differs from rank 0; the
// message names those ranks, the first tensor that differs, and `step`.
void check_replicas(std::span<const NamedTensor> trainables, ControlPlane& control, int64_t step);

}  // namespace snell::dist
