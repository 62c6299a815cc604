#include "snell/dist/sharded_weights.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <array>
#include <exception>
#include <mutex>
#include <vector>

#include "snell/core/error.h"
#include "snell/core/log.h"
#include "snell/core/text.h"
#include "snell/core/timer.h"
#include "use_order.h"

namespace snell::dist {

namespace {

// Weights and slices begin at multiples of so many elements: at least 128 bytes, what a plain tensor's memory begins
// at, so that matrix products take the same road through the same bits.
constexpr int64_t kAlign = 64;

int64_t aligned(int64_t count) {
  return (count + kAlign - 1) / kAlign * kAlign;
}

struct Block {
  std::string name;
  int64_t numel = 0;  // of all its weights, aligned
  int64_t slice = 0;  // elements of each rank; N slices cover numel
  at::Tensor shard;   // [slice], this rank's
};

// Memory for one gathered block.
struct Slot {
  at::Tensor memory;           // of the largest block
  int64_t block = -1;          // what is in it, or on its way; -1: nothing
  std::unique_ptr<Work> work;  // until it was waited for
  int held = 0;                // acquired and not released
};

}  // namespace

class ShardedWeights::State {
 public:
  State(std::shared_ptr<Communicator> communicator, const ShardedTypes& types)
      : communicator_(std::move(communicator)), types_(types) {}

  // A gather that was started ahead of a use that never came. Where an exception passes, the others may not come.
  ~State() {
    if (std::uncaught_exceptions() > 0) return;
    try {
      for (Slot& slot : slots_) wait(slot);
    } catch (const std::exception& error) {
      core::log_warning(core::str("the last gather of sharded weights failed: ", error.what()));
    }
  }

  // The number of the block and the place in it of a new weight.
  std::pair<int64_t, int64_t> add(const core::FrozenSpec& spec) {
    core::check(!laid_out_, core::str("the weight ", spec.name, " comes after the first value"));
    auto found = std::ranges::find(blocks_, spec.block, &Block::name);
    if (found == blocks_.end()) found = blocks_.insert(blocks_.end(), Block{spec.block, 0, 0, {}});
    const int64_t offset = found->numel;
    found->numel += aligned(spec.out_features * spec.in_features);
    return {found - blocks_.begin(), offset};
  }

  // Elements [first, last) of a weight that lie in this rank's slice.
  std::pair<int64_t, int64_t> mine(int64_t block, int64_t offset, int64_t numel) const {
    const Block& b = blocks_[static_cast<size_t>(block)];
    const int64_t begin = communicator_->rank() * b.slice;
    const int64_t first = std::clamp<int64_t>(begin - offset, 0, numel);
    return {first, std::clamp<int64_t>(begin + b.slice - offset, first, numel)};
  }

  void set(int64_t block, int64_t offset, const at::Tensor& weight_OI) {
    const std::lock_guard lock(mutex_);
    lay_out();
    const auto [first, last] = mine(block, offset, weight_OI.numel());
    if (first == last) return;
    const c10::NoGradGuard no_grad;
    const Block& b = blocks_[static_cast<size_t>(block)];
    const int64_t to = offset + first - communicator_->rank() * b.slice;
    b.shard.narrow(0, to, last - first).copy_(weight_OI.reshape(-1).narrow(0, first, last - first));
  }

  at::Tensor acquire(int64_t block, int64_t offset, int64_t out, int64_t in) {
    const std::lock_guard lock(mutex_);
    core::check(laid_out_, "a sharded weight is used before any was set");
    const c10::NoGradGuard no_grad;
    at::Tensor flat = communicator_->size() == 1 ? blocks_[static_cast<size_t>(block)].shard : gathered(block);
    return flat.narrow(0, offset, out * in).view({out, in}).to(types_.compute);
  }

  void release(int64_t block) {
    const std::lock_guard lock(mutex_);
    if (communicator_->size() == 1) return;
    Slot* slot = find(block);
    core::check(slot != nullptr && slot->held > 0, "a sharded weight is released that is not held");
    --slot->held;
  }

  bool is_collective() const { return communicator_->size() > 1; }

  int64_t slice_bytes(int64_t block, int64_t offset, int64_t numel) const {
    const auto [first, last] = mine(block, offset, numel);
    return (last - first) * element_bytes();
  }

  ShardedStats stats() const {
    const std::lock_guard lock(mutex_);
    ShardedStats out = stats_;
    for (const Block& b : blocks_) {
      out.weight_bytes += b.numel * element_bytes();
      out.shard_bytes += b.slice * element_bytes();
      out.largest_block_bytes = std::max(out.largest_block_bytes, b.slice * communicator_->size() * element_bytes());
    }
    for (const Slot& slot : slots_) {
      if (slot.memory.defined()) out.buffer_bytes += static_cast<int64_t>(slot.memory.nbytes());
    }
    return out;
  }

 private:
  int64_t element_bytes() const { return static_cast<int64_t>(c10::elementSize(types_.stored)); }
  at::TensorOptions options() const { return at::TensorOptions(types_.stored).device(types_.device); }

  void lay_out() {
    if (laid_out_) return;
    laid_out_ = true;
    for (Block& b : blocks_) {
      b.slice = aligned((b.numel + communicator_->size() - 1) / communicator_->size());
      b.shard = at::zeros({b.slice}, options());
      largest_ = std::max(largest_, b.slice * communicator_->size());
    }
  }

  Slot* find(int64_t block) {
    const auto found = std::ranges::find(slots_, block, &Slot::block);
    return found == slots_.end() ? nullptr : &*found;
  }

  // The whole block, held.
  at::Tensor gathered(int64_t block) {
    if (block != order_.current()) {
      order_.use(block);
      if (find(block) == nullptr) {
        ++stats_.unforeseen;
        gather(block, free_slot());
      }
      wait(*find(block));
      look_ahead();
    }
    Slot& slot = *find(block);
    ++slot.held;
    return slot.memory;
  }

  // Starts with the block that will come next, in the memory of the one before.
  void look_ahead() {
    const int64_t next = order_.next(std::ssize(blocks_));
    if (next < 0 || find(next) != nullptr) return;
    Slot& slot = slots_[0].block == order_.current() ? slots_[1] : slots_[0];
    if (slot.held == 0) gather(next, slot);
  }

  // Rather the one of a block that was foreseen in vain than the one of the block before.
  Slot& free_slot() {
    Slot& slot = slots_[0].block == order_.previous() ? slots_[1] : slots_[0];
    core::check(slot.held == 0, "more than one block of sharded weights is held");
    return slot;
  }

  void gather(int64_t block, Slot& slot) {
    wait(slot);
    if (!slot.memory.defined()) slot.memory = at::empty({largest_}, options());
    const Block& b = blocks_[static_cast<size_t>(block)];
    slot.block = block;
    slot.work = communicator_->all_gather_async(b.shard, slot.memory.narrow(0, 0, b.slice * communicator_->size()));
    ++stats_.gathers;
    stats_.fetched.bytes += (communicator_->size() - 1) * b.slice * element_bytes();
  }

  void wait(Slot& slot) {
    if (!slot.work) return;
    const core::Timer timer;
    slot.work->wait();
    slot.work.reset();
    stats_.fetched.exposed_seconds += timer.seconds();
  }

  std::shared_ptr<Communicator> communicator_;
  ShardedTypes types_;
  mutable std::mutex mutex_;
  std::vector<Block> blocks_;
  bool laid_out_ = false;
  int64_t largest_ = 0;  // elements of the largest gathered block
  std::array<Slot, 2> slots_;
  UseOrder order_;
  ShardedStats stats_;
};

class ShardedWeights::Weight : public core::StoredWeight {
 public:
  Weight(std::shared_ptr<State> state, const core::FrozenSpec& spec)
      : state_(std::move(state)), out_(spec.out_features), in_(spec.in_features) {
    std::tie(block_, offset_) = state_->add(spec);
  }
  int64_t out_features() const override { return out_; }
  int64_t in_features() const override { return in_; }
  int64_t resident_bytes() const override { return state_->slice_bytes(block_, offset_, out_ * in_); }
  void set(const at::Tensor& weight_OI) override {
    core::check(weight_OI.dim() == 2 && weight_OI.size(0) == out_ && weight_OI.size(1) == in_,
                core::str("a value of shape ", weight_OI.sizes(), " for a weight [", out_, ", ", in_, "]"));
    state_->set(block_, offset_, weight_OI);
  }
  at::Tensor acquire() const override { return state_->acquire(block_, offset_, out_, in_); }
  void release() const override { state_->release(block_); }

 private:
  std::shared_ptr<State> state_;
  int64_t out_, in_, block_ = 0, offset_ = 0;
};

ShardedWeights::ShardedWeights(std::shared_ptr<Communicator> communicator, const ShardedTypes& types)
    : state_(std::make_shared<State>(std::move(communicator), types)) {}
ShardedWeights::~ShardedWeights() = default;

bool ShardedWeights::is_collective() const {
  return state_->is_collective();
}
core::FetchTotals ShardedWeights::fetched() const {
  return state_->stats().fetched;
}
ShardedStats ShardedWeights::stats() const {
  return state_->stats();
}
std::shared_ptr<core::StoredWeight> ShardedWeights::make(const core::FrozenSpec& spec) {
  return std::make_shared<Weight>(state_, spec);
}

}  // namespace snell::dist
