// Sums gradients so that the result has equal bits on any number of ranks: each shard's gradients are taken for
// themselves, and the V shards are added in a fixed tree whose shape depends on V alone. Ranks first add what lies
// within their own shards, deal the partial sums out by slices (all-to-all), finish the tree on their slice, and gather
// the slices. A rank hands over about twice the trainables' bytes a step, and nothing overlaps with the backward pass.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "snell/dist/reducer.h"

namespace snell::dist {

// Told of each shard when its backward pass is through, before it is added: its number and its gradients, one after
// another in order of registration ([numel], the parameters' type and device).
using ShardObserver = std::function<void(int64_t shard_id, const at::Tensor& gradients)>;
// Told of the sum over all shards, likewise laid out, at the end of finish().
using SumObserver = std::function<void(const at::Tensor& gradients)>;

// `num_shards` V is a multiple of the number of ranks; rank r of R computes shards [r·V/R, (r+1)·V/R), in order.
// Collective: throws ReplicaError when the ranks' parameters differ in name, shape or type. All parameters are leaves
// that require gradients, of one type on one device. `communicator` must outlive it.
std::unique_ptr<Reducer> make_ordered_reducer(std::vector<NamedTensor> trainables, Communicator& communicator,
                                              int64_t num_shards, ShardObserver observer = {},
                                              SumObserver sum_observer = {});

}  // namespace snell::dist
