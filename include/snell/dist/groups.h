// Parts of the ranks of a job: what a communicator of fewer than all ranks is made of, and which ranks share a node.
#pragma once

#include <cstdint>
#include <vector>

#include "snell/dist/control_plane.h"

namespace snell::dist {

// This rank's part of a partition of the ranks.
struct RankGroup {
  std::vector<int> ranks;  // of the job, rising; never empty
  int rank = 0;            // this one's place among them
  int size() const { return static_cast<int>(ranks.size()); }
  bool operator==(const RankGroup&) const = default;
};

RankGroup whole_world(const ControlPlane& control);

// Collective: the ranks that pass the same color.
RankGroup split_ranks(ControlPlane& control, int64_t color);

// The ranks by nodes. Nodes are numbered by their lowest ranks; a rank's local rank is its place among its node's.
struct NodeLayout {
  RankGroup within;  // the ranks of this node
  RankGroup across;  // the ranks with this local rank, one of every node that has so many
  int num_nodes = 1;
  bool even = true;  // all nodes have as many ranks
};

// Collective. `node_size` > 0: so many consecutive ranks count as a node (all ranks, where there are no more); 0: those
// that share a machine, wherever the launcher put them. Throws ConfigError on every rank when `node_size` does not
// divide the number of ranks.
NodeLayout node_layout(ControlPlane& control, int64_t node_size);

}  // namespace snell::dist
