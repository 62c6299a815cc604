// Plain numbers summed over the ranks through the control plane, in the order of ranks, so that all get equal bits.
#pragma once

#include <cstring>
#include <string>

#include "snell/core/error.h"
#include "snell/dist/control_plane.h"

namespace snell::train {

// Tally: trivially copyable, with operator+=.
template <class Tally>
Tally sum_over_ranks(const Tally& mine, dist::ControlPlane& control) {
  Tally total;
  for (const std::string& bytes : control.all_gather_strings({reinterpret_cast<const char*>(&mine), sizeof mine})) {
    Tally theirs;
    core::check(bytes.size() == sizeof theirs, "a rank sent numbers of another size: are all ranks of one build?");
    std::memcpy(&theirs, bytes.data(), sizeof theirs);
    total += theirs;
  }
  return total;
}

}  // namespace snell::train
