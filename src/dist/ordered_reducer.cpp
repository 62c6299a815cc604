#include "snell/dist/ordered_reducer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <utility>

#include "snell/core/timer.h"
#include "snell/dist/replicas.h"
#include "sum_tree.h"
#include "trainables.h"

namespace snell::dist {

namespace {

class OrderedReducer : public Reducer {
 public:
  OrderedReducer(std::vector<NamedTensor> trainables, Communicator& communicator, int64_t num_shards,
                 ShardObserver observer, SumObserver sum_observer)
      : communicator_(communicator),
        num_shards_(num_shards),
        observer_(std::move(observer)),
        sum_observer_(std::move(sum_observer)),
        trainables_(std::move(trainables)),
        partial_(num_shards) {
    core::check(!trainables_.empty(), "nothing to train");
    core::check(num_shards > 0 && num_shards % communicator.size() == 0,
                core::str(num_shards, " shards over ", communicator.size(), " ranks"));
    const at::Tensor& first = trainables_.front().tensor;
    int64_t numel = 0;
    for (const NamedTensor& named : trainables_) {
      check_trainable(named, first);
      core::check(named.tensor.scalar_type() == first.scalar_type(),
                  core::str("trainable parameter '", named.name, "' is of another type than the others"));
      numel += named.tensor.numel();
    }
    check_same_layout(trainables_, communicator);
    const c10::NoGradGuard no_grad;
    flat_ = at::zeros({numel}, first.options().requires_grad(false));
    int64_t offset = 0;
    for (const NamedTensor& named : trainables_) {
      gradients_.push_back(flat_.narrow(0, offset, named.tensor.numel()).view(named.tensor.sizes()));
      offset += named.tensor.numel();
    }
    for (int rank = 0; rank < communicator.size(); ++rank) {
      max_parts_ = std::max(max_parts_, nodes_within(num_shards, shards_of(rank)).size());
    }
    count_bytes();
  }

  void begin(int64_t shard_id, bool) override {
    core::check(shard_ < 0, "begin() before the end() of the shard before");
    core::check(shard_id == next_shard(), core::str("shard ", shard_id, " came, ", next_shard(), " was due"));
    const c10::NoGradGuard no_grad;
    flat_.zero_();
    for (size_t i = 0; i < trainables_.size(); ++i) trainables_[i].tensor.mutable_grad() = gradients_[i];
    shard_ = shard_id;
  }

  void end() override {
    core::check(shard_ >= 0, "end() without begin()");
    const c10::NoGradGuard no_grad;
    for (size_t i = 0; i < trainables_.size(); ++i) {
      core::check(trainables_[i].tensor.grad().is_same(gradients_[i]),
                  core::str("somebody else assigned the gradient of '", trainables_[i].name, "'"));
    }
    if (observer_) observer_(shard_, flat_);
    partial_.add({shard_, shard_ + 1}, flat_);
    shard_ = -1;
    ++done_;
  }

  void finish() override {
    core::check(shard_ < 0, "finish() before the end() of the last shard");
    core::check(done_ == shards_per_rank(), core::str("finish() after ", done_, " of ", shards_per_rank(), " shards"));
    const c10::NoGradGuard no_grad;
    const auto mine = partial_.take();
    const core::Timer timer;
    if (communicator_.size() == 1) {
      flat_.copy_(mine.at(0).sum);
    } else {
      flat_.copy_(sum_over_ranks(mine));
    }
    stats_.last_exposed_seconds = timer.seconds();
    stats_.exposed_seconds += stats_.last_exposed_seconds;
    ++stats_.steps;
    done_ = 0;
    if (sum_observer_) sum_observer_(flat_);
  }

  const ReducerStats& stats() const override { return stats_; }

 private:
  int64_t shards_per_rank() const { return num_shards_ / communicator_.size(); }
  Leaves shards_of(int rank) const { return {rank * shards_per_rank(), (rank + 1) * shards_per_rank()}; }
  int64_t next_shard() const { return shards_of(communicator_.rank()).first + done_; }
  // Elements of a rank's slice; the last ones of the last slice are padding.
  int64_t slice() const { return (flat_.numel() + communicator_.size() - 1) / communicator_.size(); }

  void count_bytes() {
    stats_.num_buckets = 1;
    if (communicator_.size() == 1) return;
    const int64_t dealt = static_cast<int64_t>(max_parts_) * communicator_.size() * slice();
    stats_.bytes_per_step = (dealt + slice()) * static_cast<int64_t>(flat_.element_size());
  }

  at::Tensor sum_over_ranks(const std::vector<PartialSums::Part>& mine) {
    const int64_t R = communicator_.size(), P = static_cast<int64_t>(max_parts_), E = slice();
    at::Tensor padded = at::zeros({R * E}, flat_.options());
    at::Tensor send_RPE = at::zeros({R, P, E}, flat_.options());
    for (size_t i = 0; i < mine.size(); ++i) {
      padded.narrow(0, 0, flat_.numel()).copy_(mine[i].sum);
      send_RPE.select(1, static_cast<int64_t>(i)).copy_(padded.view({R, E}));
    }
    at::Tensor received_RPE = at::empty_like(send_RPE);
    communicator_.all_to_all(send_RPE.view(-1), received_RPE.view(-1));
    PartialSums all(num_shards_);
    for (int rank = 0; rank < communicator_.size(); ++rank) {
      const auto nodes = nodes_within(num_shards_, shards_of(rank));
      for (size_t i = 0; i < nodes.size(); ++i) {
        all.add(nodes[i], received_RPE.select(0, rank).select(0, static_cast<int64_t>(i)));
      }
    }
    communicator_.all_gather(all.take().at(0).sum, padded);
    return padded.narrow(0, 0, flat_.numel());
  }

  Communicator& communicator_;
  const int64_t num_shards_;
  const ShardObserver observer_;
  const SumObserver sum_observer_;
  std::vector<NamedTensor> trainables_;
  at::Tensor flat_;                    // of the shard under way; after finish() the sum
  std::vector<at::Tensor> gradients_;  // views into it
  size_t max_parts_ = 0;               // the most partial sums that a rank is left with
  PartialSums partial_;
  int64_t shard_ = -1;  // under way
  int64_t done_ = 0;    // shards of this step
  ReducerStats stats_;
};

}  // namespace

std::unique_ptr<Reducer> make_ordered_reducer(std::vector<NamedTensor> trainables, Communicator& communicator,
                                              int64_t num_shards, ShardObserver observer, SumObserver sum_observer) {
  return std::make_unique<OrderedReducer>(std::move(trainables), communicator, num_shards, std::move(observer),
                                          std::move(sum_observer));
}

}  // namespace snell::dist
