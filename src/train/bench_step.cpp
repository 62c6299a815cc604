#include "snell/train/bench_step.h"

#include <ATen/Parallel.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "made_up_batch.h"
#include "snell/core/timer.h"
#include "snell/dist/config.h"
#include "snell/dist/self_communicator.h"
#include "snell/train/frozen_storage.h"
#include "snell/train/model.h"
#include "snell/train/peak_memory.h"
#include "snell/train/threads.h"

namespace snell::train {
struct BenchStep::State {
  State(const JobConfig& c, int64_t num_classes)
      : config(c),
        place(make_place(c, dist::choose_device(config.run.device, control), control)),
        batch(made_up_batch(c, num_classes, 1)),
        model(make_model(c, num_classes, place)),
        memory(place.device),
        optimizer(model.backbone->trainable(), config.optim),
        reducer(trainable_tensors(*model.backbone), communicator, config.dist.bucket_mb << 20) {
    if (place.dtype == at::kHalf) scaler.emplace(config.optim.loss_scale);
    facts.device = place.device.str();
    facts.threads = at::get_num_threads();
    facts.trainable_elements = nn::count_elements(model.backbone->trainable());
    facts.parameters = nn::count_elements(model.backbone->published()) + nn::count_elements(model.backbone->adapters());
    facts.model_bytes = memory.before();
  }

  const JobConfig config;
  dist::SelfControlPlane control;
  dist::SelfCommunicator communicator;
  nn::TensorPlace place;
  data::Batch batch;
  peft::TunedModel model;
  PeakMemory memory;  // from here on: what follows counts
  Optimizer optimizer;
  dist::BucketedReducer reducer;
  std::optional<LossScaler> scaler;
  BenchFacts facts;
  int64_t step = 0;
};

BenchStep::BenchStep(const JobConfig& config, int64_t num_classes) {
  set_threads(config.run, 1);
  state_ = std::make_unique<State>(config, num_classes);
}
BenchStep::~BenchStep() = default;

const BenchFacts& BenchStep::facts() const {
  return state_->facts;
}

StepStats BenchStep::run() {
  State& s = *state_;
  const StepParts parts{
      *s.model.backbone, s.optimizer, s.reducer, s.control, s.config.optim, s.place, s.scaler ? &*s.scaler : nullptr};
  const core::Timer timer;
  StepStats stats = train_step(parts, s.batch, s.config.seed, s.step++);
  wait_for(s.place.device);
  stats.seconds = timer.seconds();
  return stats;
}

std::optional<int64_t> BenchStep::peak_above_model() const {
  return state_->memory.above();
}

void wait_for(c10::Device device) {
  if (device.is_cpu()) return;
  c10::impl::VirtualGuardImpl(device.type()).getStream(device).synchronize();
}

}  // namespace snell::train
