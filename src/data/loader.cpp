#include "snell/data/loader.h"

#include <condition_variable>
#include <deque>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "snell/core/error.h"
#include "snell/data/decode.h"

namespace snell::data {
namespace {

constexpr int64_t kMaxWorkers = 1024;

// Where one sample of a batch goes.
struct Task {
  int64_t index = 0;
  uint32_t slot = 0;
  float* out = nullptr;
};

// A batch in the making. Shared by the queue and the workers on it, so that it outlives a change of epoch.
struct Pending {
  Batch batch;
  std::vector<Task> tasks;
  size_t next_task = 0;  // guarded by the loader's mutex, like the members below
  size_t unfinished = 0;
  size_t failed_task = std::numeric_limits<size_t>::max();
  std::exception_ptr failure;  // of the first failed task in the batch's order
};

}  // namespace

struct DataLoader::State {
  State(std::shared_ptr<const SampleSource> source_, std::shared_ptr<const Transform> transform_,
        const LoaderOptions& options_);
  ~State();

  // Of the consumer's thread: batches are made there, so that only decoding happens elsewhere.
  std::shared_ptr<Pending> make_pending(int64_t step) const;
  Shard make_shard(const ShardSlots& slots, std::vector<Task>& tasks) const;
  void refill();
  Batch next_from_queue();
  Batch next_without_workers();
  // Of a worker.
  void work();
  std::shared_ptr<Pending> first_with_tasks() const;
  void finish(Pending& pending, size_t task, std::exception_ptr failure);
  // Of both.
  void run(const Pending& pending, const Task& task) const;

  const std::shared_ptr<const SampleSource> source;
  const std::shared_ptr<const Transform> transform;
  const LoaderOptions options;
  const BatchPlan plan;

  int64_t epoch = -1;     // -1: none was started
  int64_t next_step = 0;  // the first step that is not in the queue yet
  std::vector<uint32_t> order;

  std::mutex mutex;  // guards what follows
  std::condition_variable work_to_do, batch_ready;
  bool stopping = false;
  std::deque<std::shared_ptr<Pending>> queue;  // in the order of steps
  std::vector<std::thread> threads;
};

DataLoader::State::State(std::shared_ptr<const SampleSource> source_, std::shared_ptr<const Transform> transform_,
                         const LoaderOptions& options_)
    : source(std::move(source_)),
      transform(std::move(transform_)),
      options(options_),
      plan(source->size(), options.batch_size, options.num_shards, options.num_ranks, options.drop_last) {
  if (options.workers < 0 || options.workers > kMaxWorkers) {
    throw core::ConfigError(core::str("data.workers = ", options.workers, " must be in [0, ", kMaxWorkers, "]"));
  }
  if (options.prefetch < 1) {
    throw core::ConfigError(core::str("data.prefetch = ", options.prefetch, " must be at least 1"));
  }
  core::check(options.rank >= 0 && options.rank < options.num_ranks,
              "a loader's rank is not below its number of ranks");
}

DataLoader::State::~State() {
  {
    const std::lock_guard lock(mutex);
    stopping = true;
  }
  work_to_do.notify_all();
  for (std::thread& thread : threads) thread.join();
}

Shard DataLoader::State::make_shard(const ShardSlots& slots, std::vector<Task>& tasks) const {
  const int64_t size = transform->size();
  const int64_t count = slots.last - slots.first;
  const auto labels = at::TensorOptions().dtype(at::kLong).pinned_memory(options.pin_memory);
  const auto images = at::TensorOptions().dtype(at::kFloat).pinned_memory(options.pin_memory);
  Shard shard;
  shard.id = slots.id;
  if (count == 0) {
    shard.dummy = true;
    shard.images_BCHW = at::zeros({1, 3, size, size}, images);
    shard.labels_B = at::zeros({1}, labels);
    shard.slots = {0};
    shard.indices = {-1};
    return shard;
  }
  shard.images_BCHW = at::empty({count, 3, size, size}, images);
  shard.labels_B = at::empty({count}, labels);
  auto* label = shard.labels_B.mutable_data_ptr<int64_t>();
  auto* image = shard.images_BCHW.mutable_data_ptr<float>();
  for (int64_t slot = slots.first; slot < slots.last; ++slot, image += 3 * size * size) {
    const int64_t index = order[static_cast<size_t>(slot)];
    *label++ = source->label(index);
    shard.slots.push_back(static_cast<uint32_t>(slot));
    shard.indices.push_back(index);
    tasks.push_back({index, static_cast<uint32_t>(slot), image});
  }
  return shard;
}

std::shared_ptr<Pending> DataLoader::State::make_pending(int64_t step) const {
  auto pending = std::make_shared<Pending>();
  pending->batch.epoch = epoch;
  pending->batch.step_in_epoch = step;
  pending->batch.global_count = plan.global_count(step);
  for (const ShardSlots& slots : plan.shards(step, options.rank)) {
    pending->batch.shards.push_back(make_shard(slots, pending->tasks));
  }
  pending->unfinished = pending->tasks.size();
  return pending;
}

void DataLoader::State::run(const Pending& pending, const Task& task) const {
  const int64_t size = transform->size();
  const core::StreamKey key{options.seed, core::Purpose::kAugment, static_cast<uint32_t>(pending.batch.epoch),
                            task.slot, 0};
  const std::string name = source->name(task.index);
  transform->apply(decode(source->read(task.index), name), key,
                   std::span<float>(task.out, static_cast<size_t>(3 * size * size)), name);
}

void DataLoader::State::finish(Pending& pending, size_t task, std::exception_ptr failure) {
  if (failure && task < pending.failed_task) {
    pending.failed_task = task;
    pending.failure = std::move(failure);
  }
  if (--pending.unfinished == 0) batch_ready.notify_all();
}

std::shared_ptr<Pending> DataLoader::State::first_with_tasks() const {
  for (const auto& pending : queue) {
    if (pending->next_task < pending->tasks.size()) return pending;
  }
  return nullptr;
}

void DataLoader::State::work() {
  std::unique_lock lock(mutex);
  while (true) {
    std::shared_ptr<Pending> pending;
    work_to_do.wait(lock, [&] { return stopping || (pending = first_with_tasks()) != nullptr; });
    if (stopping) return;
    const size_t number = pending->next_task++;
    lock.unlock();
    std::exception_ptr failure;
    try {
      run(*pending, pending->tasks[number]);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    finish(*pending, number, std::move(failure));
  }
}

void DataLoader::State::refill() {
  while (next_step < plan.num_steps()) {
    {
      const std::lock_guard lock(mutex);
      if (static_cast<int64_t>(queue.size()) >= options.prefetch) return;
    }
    std::shared_ptr<Pending> pending = make_pending(next_step++);
    {
      const std::lock_guard lock(mutex);
      queue.push_back(std::move(pending));
    }
    work_to_do.notify_all();
  }
}

Batch DataLoader::State::next_from_queue() {
  std::shared_ptr<Pending> pending;
  {
    std::unique_lock lock(mutex);
    batch_ready.wait(lock, [&] { return queue.front()->unfinished == 0; });
    if (queue.front()->failure) std::rethrow_exception(queue.front()->failure);
    pending = std::move(queue.front());
    queue.pop_front();
  }
  refill();
  return std::move(pending->batch);
}

Batch DataLoader::State::next_without_workers() {
  const std::shared_ptr<Pending> pending = make_pending(next_step);
  for (const Task& task : pending->tasks) run(*pending, task);
  ++next_step;
  return std::move(pending->batch);
}

DataLoader::DataLoader(std::shared_ptr<const SampleSource> source, std::shared_ptr<const Transform> transform,
                       const LoaderOptions& options)
    : state_(std::make_unique<State>(std::move(source), std::move(transform), options)) {
  for (int64_t i = 0; i < options.workers; ++i) {
    state_->threads.emplace_back([state = state_.get()] { state->work(); });
  }
}

DataLoader::~DataLoader() = default;

int64_t DataLoader::num_steps() const {
  return state_->plan.num_steps();
}
const BatchPlan& DataLoader::plan() const {
  return state_->plan;
}

void DataLoader::start_epoch(int64_t epoch, int64_t first_step) {
  State& s = *state_;
  core::check(epoch >= 0 && epoch <= std::numeric_limits<uint32_t>::max(), core::str("epoch ", epoch));
  core::check(first_step >= 0 && first_step <= num_steps(),
              core::str("an epoch of ", num_steps(), " steps cannot be entered at step ", first_step));
  {
    const std::lock_guard lock(s.mutex);
    s.queue.clear();  // a worker that still writes to one of these batches keeps it alive
  }
  s.order = s.options.shuffle ? shuffled_order(s.plan.num_samples(), s.options.seed, epoch)
                              : plain_order(s.plan.num_samples());
  s.epoch = epoch;
  s.next_step = first_step;
  if (s.options.workers > 0) s.refill();
}

std::optional<Batch> DataLoader::next() {
  State& s = *state_;
  core::check(s.epoch >= 0, "DataLoader::next() before start_epoch()");
  if (s.options.workers == 0) {
    if (s.next_step >= num_steps()) return std::nullopt;
    return s.next_without_workers();
  }
  {
    const std::lock_guard lock(s.mutex);
    if (s.queue.empty()) return std::nullopt;
  }
  return s.next_from_queue();
}

}  // namespace snell::data
