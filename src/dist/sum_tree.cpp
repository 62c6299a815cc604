#include "sum_tree.h"

#include <bit>
#include <utility>

#include "snell/core/error.h"
#include "snell/core/text.h"

namespace snell::dist {
namespace {

// Where a node over more than one leaf is cut.
int64_t middle_of(const Leaves& node) {
  const auto count = static_cast<uint64_t>(node.last - node.first);
  return node.first + static_cast<int64_t>(std::bit_ceil(count) / 2);
}

void collect(const Leaves& node, const Leaves& range, std::vector<Leaves>& out) {
  if (node.last <= range.first || range.last <= node.first) return;
  if (range.first <= node.first && node.last <= range.last) {
    out.push_back(node);
    return;
  }
  const int64_t middle = middle_of(node);
  collect({node.first, middle}, range, out);
  collect({middle, node.last}, range, out);
}

}  // namespace

bool is_node(int64_t num_leaves, const Leaves& leaves) {
  Leaves node{0, num_leaves};
  if (leaves.first < 0 || leaves.first >= leaves.last || leaves.last > num_leaves) return false;
  while (node != leaves) {
    const int64_t middle = middle_of(node);
    if (leaves.last <= middle) {
      node.last = middle;
    } else if (leaves.first >= middle) {
      node.first = middle;
    } else {
      return false;
    }
  }
  return true;
}

std::vector<Leaves> nodes_within(int64_t num_leaves, const Leaves& range) {
  std::vector<Leaves> out;
  collect({0, num_leaves}, range, out);
  return out;
}

bool PartialSums::joins(const Leaves& left, const Leaves& right) const {
  return is_node(num_leaves_, {left.first, right.last});
}

void PartialSums::add(const Leaves& leaves, const at::Tensor& sum) {
  core::check(is_node(num_leaves_, leaves) && (parts_.empty() || parts_.back().leaves.last == leaves.first),
              core::str("the sum of shards [", leaves.first, ", ", leaves.last, ") came out of turn"));
  if (parts_.empty() || !joins(parts_.back().leaves, leaves)) {
    parts_.push_back({leaves, sum.clone()});
    return;
  }
  parts_.back().sum.add_(sum);
  parts_.back().leaves.last = leaves.last;
  while (parts_.size() > 1 && joins(parts_[parts_.size() - 2].leaves, parts_.back().leaves)) {
    const Part right = std::move(parts_.back());
    parts_.pop_back();
    parts_.back().sum.add_(right.sum);
    parts_.back().leaves.last = right.leaves.last;
  }
}

std::vector<PartialSums::Part> PartialSums::take() {
  return std::exchange(parts_, {});
}

}  // namespace snell::dist
