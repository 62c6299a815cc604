#include "snell/dist/reducer.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <optional>

#include "snell/core/text.h"
#include "snell/core/timer.h"
#include "snell/dist/replicas.h"
#include "trainables.h"

namespace snell::dist {

using torch::autograd::Node;
using torch::autograd::variable_list;

namespace {

// Runs after AccumulateGrad has added a gradient to .grad.
class ArrivalHook : public torch::autograd::FunctionPostHook {
 public:
  explicit ArrivalHook(std::function<void()> arrived) : arrived_(std::move(arrived)) {}
  variable_list operator()(const variable_list& outputs, const variable_list&) override {
    arrived_();
    return outputs;
  }

 private:
  std::function<void()> arrived_;
};

struct Parameter {
  NamedTensor named;
  at::Tensor gradient;  // a view into its bucket
  size_t bucket = 0;
  std::shared_ptr<Node> accumulator;  // held, or the hook dies with it
  uintptr_t hook = 0;
  bool arrived = false;
};

struct Bucket {
  at::Tensor flat;
  at::Tensor wire;  // what travels: `flat` itself, or its copy in another type
  size_t num_parameters = 0;
  size_t pending = 0;          // gradients that have not arrived in the last shard
  std::unique_ptr<Work> work;  // from the hand-over to finish()
};

}  // namespace

class BucketedReducer::State {
 public:
  State(std::vector<NamedTensor> trainables, Communicator& communicator, int64_t bucket_bytes,
        std::optional<c10::ScalarType> wire_type)
      : communicator_(communicator), wire_type_(communicator.size() > 1 ? wire_type : std::nullopt) {
    core::check(bucket_bytes > 0, core::str("bucket_bytes ", bucket_bytes));
    for (const NamedTensor& named : trainables) check_trainable(named, trainables.front().tensor);
    check_same_layout(trainables, communicator);
    const c10::NoGradGuard no_grad;
    parameters_.reserve(trainables.size());
    for (auto it = trainables.rbegin(); it != trainables.rend(); ++it)
      parameters_.emplace_back().named = std::move(*it);
    for (size_t first = 0; first < parameters_.size();) first = add_bucket(first, bucket_bytes);
    for (Parameter& parameter : parameters_) add_hook(parameter);
  }

  ~State() {
    for (Parameter& parameter : parameters_) parameter.accumulator->del_post_hook(parameter.hook);
  }

  void begin(bool last_shard) {
    core::check(!in_shard_, "begin() before the end() of the shard before");
    core::check(!had_last_, "begin() after the last shard of the step; finish() is missing");
    start_step();
    in_shard_ = true;
    had_last_ = last_shard;
    const std::lock_guard lock(mutex_);
    collecting_ = last_shard;
  }

  void end() {
    core::check(in_shard_, "end() without begin()");
    in_shard_ = false;
    const std::lock_guard lock(mutex_);
    collecting_ = false;
  }

  void finish() {
    core::check(!in_shard_, "finish() before the end() of the last shard");
    start_step();  // of a rank that had no shard
    {
      const std::lock_guard lock(mutex_);
      while (next_ < buckets_.size()) hand_over_next();
    }
    const c10::NoGradGuard no_grad;
    const core::Timer timer;
    for (Bucket& bucket : buckets_) {
      bucket.work->wait();
      if (!bucket.wire.is_same(bucket.flat)) bucket.flat.copy_(bucket.wire);
    }
    stats_.last_exposed_seconds = timer.seconds();
    stats_.exposed_seconds += stats_.last_exposed_seconds;
    ++stats_.steps;
    const std::lock_guard lock(mutex_);
    for (Bucket& bucket : buckets_) bucket.work.reset();
    in_step_ = false;
    had_last_ = false;
  }

  const ReducerStats& stats() const { return stats_; }

 private:
  // Takes parameters from `first` on; returns the first that is left.
  size_t add_bucket(size_t first, int64_t bucket_bytes) {
    const at::Tensor& head = parameters_[first].named.tensor;
    int64_t numel = 0;
    size_t last = first;
    for (; last < parameters_.size(); ++last) {
      const at::Tensor& tensor = parameters_[last].named.tensor;
      const int64_t bytes = (numel + tensor.numel()) * static_cast<int64_t>(head.element_size());
      if (tensor.scalar_type() != head.scalar_type() || (last > first && bytes > bucket_bytes)) break;
      numel += tensor.numel();
    }
    Bucket bucket;
    bucket.flat = at::zeros({numel}, head.options().requires_grad(false));
    bucket.wire = bucket.flat.to(wire_type_.value_or(bucket.flat.scalar_type()));
    bucket.num_parameters = last - first;
    int64_t offset = 0;
    for (size_t i = first; i < last; ++i) {
      Parameter& parameter = parameters_[i];
      const at::Tensor& tensor = parameter.named.tensor;
      parameter.gradient = bucket.flat.narrow(0, offset, tensor.numel()).view(tensor.sizes());
      parameter.bucket = buckets_.size();
      offset += tensor.numel();
    }
    stats_.bytes_per_step += static_cast<int64_t>(bucket.wire.nbytes());
    ++stats_.num_buckets;
    buckets_.push_back(std::move(bucket));
    return last;
  }

  void add_hook(Parameter& parameter) {
    parameter.accumulator = torch::autograd::impl::grad_accumulator(parameter.named.tensor);
    parameter.hook = parameter.accumulator->add_post_hook(
        std::make_unique<ArrivalHook>([this, &parameter] { gradient_arrived(parameter); }));
  }

  // Once a step: empty buckets, and .grad points into them whatever happened to it since.
  void start_step() {
    if (in_step_) return;
    const c10::NoGradGuard no_grad;
    for (Bucket& bucket : buckets_) {
      bucket.flat.zero_();
      bucket.pending = bucket.num_parameters;
    }
    for (Parameter& parameter : parameters_) {
      parameter.arrived = false;
      at::Tensor& gradient = parameter.named.tensor.mutable_grad();
      if (!gradient.is_same(parameter.gradient)) gradient = parameter.gradient;
    }
    next_ = 0;
    in_step_ = true;
  }

  void gradient_arrived(Parameter& parameter) {
    const std::lock_guard lock(mutex_);
    Bucket& bucket = buckets_[parameter.bucket];
    core::check(bucket.work == nullptr,
                core::str("a gradient of '", parameter.named.name,
                          "' arrived after its bucket was handed to all_reduce; call backward() once "
                          "a shard, between begin() and end()"));
    if (!collecting_) return;
    core::check(!parameter.arrived, core::str("a gradient of '", parameter.named.name,
                                              "' arrived twice in the last shard; call backward() once a shard"));
    parameter.arrived = true;
    --bucket.pending;
    while (next_ < buckets_.size() && buckets_[next_].pending == 0) hand_over_next();
  }

  void hand_over_next() {
    Bucket& bucket = buckets_[next_++];
    if (!bucket.wire.is_same(bucket.flat)) {
      const c10::NoGradGuard no_grad;
      bucket.wire.copy_(bucket.flat);
    }
    bucket.work = communicator_.all_reduce_async(bucket.wire, ReduceOp::kSum);
  }

  Communicator& communicator_;
  const std::optional<c10::ScalarType> wire_type_;
  std::vector<Parameter> parameters_;  // in bucket order; never resized once hooks point into it
  std::vector<Bucket> buckets_;
  ReducerStats stats_;
  bool in_step_ = false;  // begin() or finish() has set the step up
  bool in_shard_ = false;
  bool had_last_ = false;

  std::mutex mutex_;  // guards what hooks touch: below, and arrived, pending, work above
  bool collecting_ = false;
  size_t next_ = 0;  // the next bucket to hand over
};

BucketedReducer::BucketedReducer(std::vector<NamedTensor> trainables, Communicator& communicator, int64_t bucket_bytes,
                                 std::optional<c10::ScalarType> wire_type)
    : state_(std::make_unique<State>(std::move(trainables), communicator, bucket_bytes, wire_type)) {}

BucketedReducer::~BucketedReducer() = default;

void BucketedReducer::begin(int64_t, bool last_shard) {
  state_->begin(last_shard);
}
void BucketedReducer::end() {
  state_->end();
}
void BucketedReducer::finish() {
  state_->finish();
}
const ReducerStats& BucketedReducer::stats() const {
  return state_->stats();
}

int64_t bucket_bytes_for(const std::vector<NamedTensor>& trainables, int64_t limit) {
  constexpr int64_t kBuckets = 8, kLeast = int64_t{1} << 20;
  int64_t total = 0;
  for (const NamedTensor& named : trainables) total += static_cast<int64_t>(named.tensor.nbytes());
  return std::min(limit, std::max(kLeast, total / kBuckets));
}

}  // namespace snell::dist
