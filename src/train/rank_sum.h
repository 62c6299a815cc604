// Plain numbers summed over the ranks through the control plane, in the order of ranks, so that all get equal bits.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "snell/core/error.h"
#include "snell/dist/control_plane.h"

namespace snell::train {

// Every rank's tallies, in order of ranks. Tally: trivially copyable.
template <class Tally>
std::vector<Tally> gather_from_ranks(std::span<const Tally> mine, dist::ControlPlane& control) {
  std::vector<Tally> all;
  for (const std::string& bytes :
       control.all_gather_strings({reinterpret_cast<const char*>(mine.data()), mine.size_bytes()})) {
    core::check(bytes.size() % sizeof(Tally) == 0, "a rank sent numbers of another size: are all ranks of one build?");
    for (size_t at = 0; at < bytes.size(); at += sizeof(Tally)) {
      std::memcpy(&all.emplace_back(), bytes.data() + at, sizeof(Tally));
    }
  }
  return all;
}

// `mine`: any number of tallies, added one by one, so that the sum does not depend on how they are dealt to the ranks.
// Tally: with operator+= besides.
template <class Tally>
Tally sum_over_ranks(std::span<const Tally> mine, dist::ControlPlane& control) {
  Tally total;
  for (const Tally& one : gather_from_ranks(mine, control)) total += one;
  return total;
}

template <class Tally>
Tally sum_over_ranks(const Tally& mine, dist::ControlPlane& control) {
  return sum_over_ranks(std::span(&mine, 1), control);
}

}  // namespace snell::train
