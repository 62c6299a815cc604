#include "snell/train/memory_plan.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <fstream>
#include <functional>
#include <optional>

#include "gradient_shards.h"
#include "planned_communicator.h"
#include "snell/core/error.h"
#include "snell/data/sampler.h"
#include "snell/dist/self_communicator.h"
#include "snell/dist/sharded_weights.h"
#include "snell/nn/frozen_kinds.h"
#include "snell/train/ema.h"
#include "snell/train/frozen_storage.h"
#include "snell/train/model.h"
#include "snell/train/op_trace.h"
#include "snell/train/step.h"
#include "snell/train/tensor_memory.h"

namespace snell::train {
namespace {

constexpr int64_t kManySteps = 1 << 20;  // of a data set whose size is not known

// The tensors of a loader: batches ahead of their use, and the one in use.
class ImageQueue {
 public:
  ImageQueue(const data::BatchPlan& plan, const data::DataConfig& config, MetaMemory& memory)
      : plan_(plan), config_(config), memory_(memory) {
    if (config.workers > 0) refill();
  }
  // As the loader's next().
  std::optional<data::Batch> next() {
    if (config_.workers == 0) {
      if (next_step_ == plan_.num_steps()) return std::nullopt;
      return make(next_step_++);
    }
    if (queue_.empty()) return std::nullopt;
    data::Batch batch = std::move(queue_.front());
    queue_.pop_front();
    refill();
    return batch;
  }

 private:
  void refill() {
    while (next_step_ < plan_.num_steps() && std::ssize(queue_) < config_.prefetch)
      queue_.push_back(make(next_step_++));
  }
  data::Batch make(int64_t step) const {
    memory_.set_use(MemoryUse::kImages);
    const int64_t size = config_.transform.size;
    const auto options = at::TensorOptions().device(at::kMeta);
    data::Batch batch;
    batch.step_in_epoch = step;
    batch.global_count = plan_.global_count(step);
    for (const auto& slots : plan_.shards(step, 0)) {
      data::Shard shard;
      shard.id = slots.id;
      shard.dummy = slots.last == slots.first;
      const int64_t count = std::max<int64_t>(1, slots.last - slots.first);
      shard.images_BCHW = at::empty({count, 3, size, size}, options.dtype(at::kFloat));
      shard.labels_B = at::empty({count}, options.dtype(at::kLong));
      shard.slots.resize(static_cast<size_t>(count));
      batch.shards.push_back(std::move(shard));
    }
    return batch;
  }

  const data::BatchPlan& plan_;
  const data::DataConfig& config_;
  MetaMemory& memory_;
  std::deque<data::Batch> queue_;
  int64_t next_step_ = 0;
};

// A model that tells what memory is asked for in its forward pass; what follows is the backward pass's.
class WatchedModel : public nn::Backbone {
 public:
  using Told = std::function<void()>;
  WatchedModel(const nn::Backbone& model, MetaMemory& memory, Told begin, Told end)
      : Backbone(model.head_name()), model_(model), memory_(memory), begin_(std::move(begin)), end_(std::move(end)) {
    head_weight_KD_ = model.head_weight();
    head_bias_K_ = model.head_bias();
  }
  at::Tensor forward_features(const at::Tensor& images_BCHW, const core::StepContext& context) const override {
    memory_.set_use(MemoryUse::kForward);
    begin_();
    at::Tensor features = model_.forward_features(images_BCHW, context);
    memory_.set_use(MemoryUse::kBackward);
    end_();
    return features;
  }
  nn::Parameters published() const override { return model_.published(); }
  nn::Parameters adapters() const override { return model_.adapters(); }

 protected:
  void init_tensor(const std::string&, at::Tensor&, uint64_t) const override {
    throw core::Error("a watched model is made already");
  }

 private:
  const nn::Backbone& model_;
  MetaMemory& memory_;
  const Told begin_, end_;
};

data::BatchPlan batch_plan(int64_t samples, int64_t batch_size, int64_t shards, int64_t ranks, bool drop_last) {
  if (samples == 0) samples = std::min<int64_t>(kManySteps * batch_size, int64_t{1} << 31);
  return {samples, batch_size, shards, ranks, drop_last};
}

class Simulation {
 public:
  Simulation(const JobConfig& config, const PlanRequest& request)
      : config_(config),
        request_(request),
        place_{compute_dtype(config.run), at::kMeta},
        communicator_(request.num_ranks, trace(), /*scratch=*/config.run.device != "cuda") {
    plan_.step.ranks = request.num_ranks;
  }
  ~Simulation() { place_.storage.reset(); }  // what it holds of the communicator asks this object

  MemoryPlan run() {
    make();
    end_phase("making the model");
    train();
    end_phase("training");
    if (config_.train.eval_interval > 0 || config_.train.eval_last > 0) {
      evaluate();
      end_phase("evaluation");
    }
    return std::move(plan_);
  }

 private:
  // In the trainer's order.
  void make() {
    memory_.set_use(MemoryUse::kWeights);
    place_.storage = storage();
    model_ = peft::make_tuned_model(config_.backbone, config_.adapter, request_.num_classes, config_.seed, place_);
    memory_.set_use(MemoryUse::kOptimizer);
    optimizer_ = make_optimizer(model_.backbone->trainable(), config_, communicator_);
    const auto& allocator = config_.adapter.allocator;
    if (allocator.metric != "none") allocator_.emplace(model_.branches, allocator, config_.train.epochs);
    memory_.set_use(MemoryUse::kAverages);
    if (config_.optim.ema.enabled) ema_.emplace(model_.backbone->trainable(), config_.optim.ema);
    if (place_.dtype == at::kHalf) scaler_.emplace(config_.optim.loss_scale);
    memory_.set_use(MemoryUse::kGradients);
    reducer_ = make_reducer(config_.dist, trainable_tensors(*model_.backbone), communicator_,
                            num_shards(config_, request_.num_ranks));
    for (const auto& [name, tensor] : model_.backbone->trainable()) {
      plan_.trainable_bytes += static_cast<int64_t>(tensor.nbytes());
    }
  }

  void train() {
    const int64_t ranks = request_.num_ranks;
    train_plan_.emplace(batch_plan(request_.train_samples, config_.data.batch_size, num_shards(config_, ranks), ranks,
                                   config_.data.drop_last));
    images_ = std::make_unique<ImageQueue>(*train_plan_, config_.data, memory_);
    dist::SelfControlPlane control;
    const WatchedModel model(
        *model_.backbone, memory_, [this] { enter(plan::Phase::kForward); }, [this] { enter(plan::Phase::kBackward); });
    const StepParts parts{model, *optimizer_, *reducer_, control, config_.optim, place_, scaler_ ? &*scaler_ : nullptr};
    for (int64_t step = 0; step < 2; ++step) {
      const auto batch = images_->next();
      if (!batch) break;
      record(step);
      memory_.set_use(MemoryUse::kForward);
      compute_gradients(parts, *batch, config_.seed, step);
      memory_.set_use(MemoryUse::kOther);
      enter(plan::Phase::kUpdate);
      optimizer_->step();
      if (allocator_) allocator_->observe();
      if (ema_) ema_->update(step + 1);
    }
    recording_ = false;
    observer_.reset();
    // Evaluations come at the end of an epoch, when no batch is left, or where max_steps stops.
    if (config_.train.max_steps == 0) images_.reset();
  }

  void evaluate() {
    const at::NoGradGuard no_grad;
    const int64_t ranks = request_.num_ranks;
    const data::BatchPlan plan =
        batch_plan(request_.eval_samples, config_.data.eval_batch_size * ranks, ranks, ranks, false);
    ImageQueue images(plan, config_.data, memory_);
    for (int i = 0; i < 2; ++i) {
      const auto batch = images.next();
      if (!batch) break;
      memory_.set_use(MemoryUse::kForward);
      for (const auto& shard : batch->shards) {
        model_.backbone->forward(shard.images_BCHW.to(place_.device, place_.dtype), core::StepContext{});
      }
    }
  }

  std::function<plan::Trace*()> trace() {
    return [this] { return recording_ ? &plan_.step : nullptr; };
  }

  // As make_frozen_storage(), for ranks that are not there.
  std::shared_ptr<core::FrozenStorage> storage() {
    const std::string& kind = config_.dist.shard.frozen;
    if (kind == "none" || config_.adapter.name == "full") {
      dist::SelfControlPlane control;
      return make_frozen_storage(config_, place_, control);
    }
    int64_t ranks = request_.num_ranks;
    if (kind == "hybrid") {
      const int64_t node = config_.dist.wire.node_size;
      ranks = std::min(ranks, node > 0 ? node : request_.ranks_per_node);
    }
    if (ranks == 1) return nn::make_frozen_kind(config_.backbone, place_);
    const auto stored = config_.backbone.frozen_storage == "bfloat16" ? at::kBFloat16 : place_.dtype;
    return std::make_shared<dist::ShardedWeights>(std::make_shared<PlannedCommunicator>(ranks, trace(), false),
                                                  dist::ShardedTypes{stored, place_.dtype, place_.device});
  }

  // Every step is the last that was recorded: a first one differs where states come into being.
  void record(int64_t step) {
    if (step == 0) observer_.emplace([this](const plan::Op& op, double) { plan_.step.add(op); });
    plan_.step.events.clear();
    recording_ = true;
  }
  void enter(plan::Phase phase) {
    if (recording_) plan_.step.phase(phase);
  }

  void end_phase(const std::string& name) {
    plan_.phases.push_back({name, memory_.peak()});
    memory_.begin_phase();
  }

  const JobConfig& config_;
  const PlanRequest& request_;
  MetaMemory memory_;  // before what it counts
  nn::TensorPlace place_;
  MemoryPlan plan_;
  bool recording_ = false;
  PlannedCommunicator communicator_;
  peft::TunedModel model_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<peft::BudgetAllocator> allocator_;
  std::optional<WeightsEma> ema_;
  std::optional<LossScaler> scaler_;
  std::unique_ptr<dist::Reducer> reducer_;
  std::optional<data::BatchPlan> train_plan_;
  std::unique_ptr<ImageQueue> images_;
  std::optional<OpObserver> observer_;
};

// The same kind of model with few blocks and tokens. Features stay: the matrix library's buffers grow with them.
JobConfig tiny_of(const JobConfig& config) {
  JobConfig tiny = config;
  auto& b = tiny.backbone;
  b.depth = 1;
  for (auto& depth : b.depths) depth = 1;
  const int64_t side = b.name == "vit" ? 4 : b.patch_size << (b.depths.size() - 1);
  b.image_size = b.name == "vit" ? side * b.patch_size : 2 * side;
  return tiny;
}

int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t pages = 0, resident = 0;
  statm >> pages >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

}  // namespace

const PhaseMemory& MemoryPlan::largest() const {
  return *std::max_element(phases.begin(), phases.end(), [](const PhaseMemory& a, const PhaseMemory& b) {
    return a.count.total() < b.count.total();
  });
}

MemoryPlan plan_memory(const JobConfig& config, const PlanRequest& request) {
  return Simulation(config, request).run();
}

int64_t measure_program(const JobConfig& config) {
  {
    const JobConfig tiny = tiny_of(config);
    const nn::TensorPlace place{compute_dtype(config.run), at::kCPU};
    const auto model = peft::make_tuned_model(tiny.backbone, tiny.adapter, 10, tiny.seed, place);
    Optimizer optimizer(model.backbone->trainable(), tiny.optim);
    dist::SelfCommunicator communicator;
    dist::BucketedReducer reducer(trainable_tensors(*model.backbone), communicator, tiny.dist.bucket_mb << 20);
    dist::SelfControlPlane control;
    const StepParts parts{*model.backbone, optimizer, reducer, control, tiny.optim, place};
    data::Shard shard;
    const int64_t size = tiny.backbone.image_size;
    shard.images_BCHW = at::zeros({1, 3, size, size});
    shard.labels_B = at::zeros({1}, at::kLong);
    shard.slots = {0};
    data::Batch batch;
    batch.global_count = 1;
    batch.shards.push_back(std::move(shard));
    compute_gradients(parts, batch, tiny.seed, 0);
    optimizer.step();
  }
  give_back_freed_tensors();
  ::malloc_trim(0);
  return resident_bytes();
}

}  // namespace snell::train
