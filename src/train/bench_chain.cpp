#include "snell/train/bench_chain.h"

#include "gradient_shards.h"
#include "made_up_batch.h"
#include "snell/core/error.h"
#include "snell/core/timer.h"
#include "snell/dist/self_communicator.h"
#include "snell/train/frozen_storage.h"
#include "snell/train/model.h"
#include "snell/train/reproducible.h"
#include "snell/train/threads.h"
#include "step_chain.h"

namespace snell::train {
namespace {

JobConfig in_folder(JobConfig config, const std::string& folder) {
  config.run.dir = folder;
  return config;
}

}  // namespace

struct ChainBench::State {
  State(const JobConfig& c, int64_t num_classes, const std::string& folder)
      : config(in_folder(c, folder)),
        place(make_place(c, at::kCPU, control)),
        batch(made_up_batch(c, num_classes, c.dist.virtual_shards)),
        model(make_model(c, num_classes, place)),
        optimizer(model.backbone->trainable(), config.optim),
        chain(seams, model, nullptr),
        reducer(make_reducer(config.dist, trainable_tensors(*model.backbone), communicator, c.dist.virtual_shards,
                             timed(chain.shard_observer(), round.shards), timed(chain.sum_observer(), round.sum))) {
    chain.begin(config, "{}", {}, 0, control);
  }

  // The observer, in the steps with a chain, and its time added to `seconds`.
  template <class... Args>
  std::function<void(Args...)> timed(std::function<void(Args...)> observer, double& seconds) {
    return [this, observer = std::move(observer), &seconds](Args... args) {
      if (!with_chain) return;
      const core::Timer timer;
      observer(args...);
      seconds += timer.seconds();
    };
  }

  double make_step(bool chained) {
    with_chain = chained;
    const StepParts parts{*model.backbone, optimizer, *reducer, control,
                          config.optim,    place,     nullptr,  chained ? chain.hashes() : nullptr};
    const core::Timer timer;
    const StepStats stats = train_step(parts, batch, config.seed, step++);
    if (!stats.finite)
      throw core::NonFiniteError("a step was not finite, so that its time means nothing: lower optim.lr");
    if (chained) {
      const core::Timer own;
      chain.add(++recorded, stats.loss);
      round.record = own.seconds();
    }
    return timer.seconds();
  }

  const JobConfig config;
  const TrainerSeams seams;
  dist::SelfControlPlane control;
  dist::SelfCommunicator communicator;
  nn::TensorPlace place;
  data::Batch batch;
  peft::TunedModel model;
  Optimizer optimizer;
  StepChain chain;
  bool with_chain = false;
  ChainRound round;
  std::unique_ptr<dist::Reducer> reducer;
  int64_t step = 0, recorded = 0, rounds = 0;
};

ChainBench::ChainBench(const JobConfig& config, int64_t num_classes, const std::string& folder) {
  core::check(config.dist.reproducible && compute_dtype(config.run) != at::kHalf, "no config of this benchmark");
  set_threads(with_fixed_threads(config.run, config.dist), 1);
  state_ = std::make_unique<State>(config, num_classes, folder);
}
ChainBench::~ChainBench() = default;

int64_t ChainBench::gradient_bytes() const {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : state_->model.backbone->trainable()) bytes += static_cast<int64_t>(tensor.nbytes());
  return bytes;
}

ChainRound ChainBench::run() {
  State& s = *state_;
  s.round = {};
  const bool chain_first = s.rounds++ % 2 == 1;
  if (chain_first) s.round.with = s.make_step(true);
  s.round.without = s.make_step(false);
  if (!chain_first) s.round.with = s.make_step(true);
  return s.round;
}

}  // namespace snell::train
