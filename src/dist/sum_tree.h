// The order in which the gradients of a global batch's shards are summed: a tree over the shards' numbers that knows
// nothing of ranks. A node over more than one leaf is its left part, the largest power of two of leaves that is less
// than all, plus its right part.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace snell::dist {

struct Leaves {  // [first, last)
  int64_t first = 0, last = 0;
  bool operator==(const Leaves&) const = default;
};

// Whether the tree over `num_leaves` has a node over exactly these.
bool is_node(int64_t num_leaves, const Leaves& leaves);

// The largest nodes within `range`, in order: what can be summed without the others' leaves.
std::vector<Leaves> nodes_within(int64_t num_leaves, const Leaves& range);

// Sums that arrive in the order of their leaves, added up as soon as the tree lets them.
class PartialSums {
 public:
  struct Part {
    Leaves leaves;
    at::Tensor sum;
  };

  explicit PartialSums(int64_t num_leaves) : num_leaves_(num_leaves) {}

  // `sum` of a node's leaves, next to those before; it is copied, or added to what is there.
  void add(const Leaves& leaves, const at::Tensor& sum);
  // What cannot be added up without other leaves. Empty afterwards.
  std::vector<Part> take();

 private:
  bool joins(const Leaves& left, const Leaves& right) const;

  int64_t num_leaves_;
  std::vector<Part> parts_;
};

}  // namespace snell::dist
