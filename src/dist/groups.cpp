#include "snell/dist/groups.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "snell/core/text.h"

namespace snell::dist {

namespace {

RankGroup group_of(const std::vector<int64_t>& colors, int rank) {
  RankGroup group;
  for (int other = 0; other < static_cast<int>(colors.size()); ++other) {
    if (colors[static_cast<size_t>(other)] != colors[static_cast<size_t>(rank)]) continue;
    if (other == rank) group.rank = group.size();
    group.ranks.push_back(other);
  }
  return group;
}

}  // namespace

RankGroup whole_world(const ControlPlane& control) {
  RankGroup group;
  group.ranks.resize(static_cast<size_t>(control.size()));
  std::iota(group.ranks.begin(), group.ranks.end(), 0);
  group.rank = control.rank();
  return group;
}

RankGroup split_ranks(ControlPlane& control, int64_t color) {
  return group_of(control.all_gather_ints(color), control.rank());
}

NodeLayout node_layout(ControlPlane& control, int64_t node_size) {
  const int64_t size = control.size();
  if (node_size > 0 && node_size < size && size % node_size != 0) {
    throw core::ConfigError(core::str("dist.node_size = ", node_size, " does not divide ", size,
                                      " ranks; give every node as many ranks, or set it to 0 (those that share a "
                                      "machine)"));
  }
  const int64_t mine = node_size > 0 ? control.rank() / node_size : control.node_leader();
  const std::vector<int64_t> nodes = control.all_gather_ints(mine);

  std::map<int64_t, int> ranks_of_node;
  std::vector<int64_t> local_ranks;
  for (int64_t node : nodes) local_ranks.push_back(ranks_of_node[node]++);

  NodeLayout layout;
  layout.within = group_of(nodes, control.rank());
  layout.across = group_of(local_ranks, control.rank());
  layout.num_nodes = static_cast<int>(ranks_of_node.size());
  layout.even = std::all_of(ranks_of_node.begin(), ranks_of_node.end(),
                            [&](const auto& node) { return node.second == layout.within.size(); });
  return layout;
}

}  // namespace snell::dist
