#include "snell/train/trainer.h"

#include <cmath>
#include <cstring>

#include "gradient_shards.h"
#include "resume.h"
#include "snell/core/hash.h"
#include "snell/core/log.h"
#include "snell/core/phase.h"
#include "snell/core/timer.h"
#include "snell/data/dataset_file.h"
#include "snell/dist/replicas.h"
#include "snell/dist/stragglers.h"
#include "snell/dist/two_level.h"
#include "snell/train/ema.h"
#include "snell/train/frozen_storage.h"
#include "snell/train/model.h"
#include "snell/train/reproducible.h"
#include "snell/train/schedule.h"
#include "snell/train/threads.h"
#include "step_chain.h"
#include "traffic_meter.h"

namespace snell::train {
namespace {

std::unique_ptr<data::DataLoader> make_train_loader(std::shared_ptr<const data::SampleSource> source,
                                                    const JobConfig& config, const dist::ControlPlane& control,
                                                    bool pin_memory) {
  data::LoaderOptions options;
  options.seed = config.seed;
  options.batch_size = config.data.batch_size;
  options.num_shards = num_shards(config, control.size());
  options.num_ranks = control.size();
  options.rank = control.rank();
  options.workers = config.data.workers;
  options.prefetch = config.data.prefetch;
  options.drop_last = config.data.drop_last;
  options.pin_memory = pin_memory;
  const auto& transform = config.data.transform;
  return std::make_unique<data::DataLoader>(std::move(source), data::make_transform(transform.train, transform),
                                            options);
}

// Rank 0 shares out: replicas whose scores differ in a last bit must not cut at different thresholds.
std::optional<std::vector<double>> allocate_on_root(const peft::BudgetAllocator& allocator, int64_t epoch,
                                                    dist::ControlPlane& control) {
  const std::string bytes = control.root_decides([&] {
    const auto found = allocator.allocate(epoch).value_or(std::vector<double>());
    return std::string(reinterpret_cast<const char*>(found.data()), found.size() * sizeof(double));
  });
  if (bytes.empty()) return std::nullopt;
  std::vector<double> out(bytes.size() / sizeof(double));
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

}  // namespace

class Trainer::Run {
 public:
  Run(const JobConfig& config, std::string config_json, dist::ControlPlane& control, TrainerSeams seams)
      : config_(config), config_json_(std::move(config_json)), control_(control), seams_(std::move(seams)) {
    control.all_or_none([&] { check_reproducible(config, control.size()); });
    set_threads(with_fixed_threads(config.run, config.dist), control.local_size());
    place_ = {compute_dtype(config.run), dist::choose_device(config.run.device, control)};
    if (config.dist.reproducible && !place_.device.is_cpu()) {
      core::log_warning("dist.reproducible=true: equal bits are promised on CPUs only");
    }
    control.all_or_none([&] { open_data(); });
    communicator_ = dist::make_gradient_communicator(config.dist, control, place_.device);
    place_.storage = make_frozen_storage(config, place_, control);
    control.all_or_none([&] {
      const core::Phase phase(core::PhaseKind::kLoadWeights);
      model_ = make_model(config, facts_.num_classes, place_);
    });
    trainables_ = trainable_tensors(*model_.backbone);
    optimizer_ = make_optimizer(model_.backbone->trainable(), config, *communicator_);
    const auto& allocator = config.adapter.allocator;
    if (config.optim.ema.enabled) ema_.emplace(model_.backbone->trainable(), config.optim.ema);
    if (allocator.metric != "none") allocator_.emplace(model_.branches, allocator, config.train.epochs);
    if (place_.dtype == at::kHalf) scaler_.emplace(config.optim.loss_scale);
    control.all_or_none([&] {
      if (keeps_chain(config.dist, place_.device)) chain_.emplace(seams_, model_, scaler_ ? &*scaler_ : nullptr);
    });
    resume();
    dist::broadcast_parameters(trainables_, *communicator_);
    if (ema_ && !facts_.resumed_from) ema_->reset();
    reducer_ = make_reducer(config.dist, trainables_, *communicator_, num_shards(config, control.size()),
                            chain_ ? chain_->shard_observer() : dist::ShardObserver(),
                            chain_ ? chain_->sum_observer() : dist::SumObserver());
    traffic_.emplace(*communicator_, *reducer_);
    traffic_->of_step();  // what came before the first step is not its
    gather_facts();
    stragglers_.emplace(config.dist.watchdog, control);
  }

  TrainResult run() {
    const core::Timer timer;
    if (chain_) chain_->begin(config_, config_json_, facts_, position_.step, control_);
    TrainResult result;
    // A stop came between an epoch's last step and its evaluation.
    if (position_.step_in_epoch == 0 && position_.evaluated_step != position_.step && evaluation_due(true)) {
      lr_ = learning_rate(config_.optim.schedule, config_.optim.lr, config_.train.epochs, position_.epoch - 1);
      judge_and_save(result, true);
    }
    while (!finished()) {
      const int signal = run_epoch();
      if (signal != 0) {
        if (saves()) save(false);
        result.stop_signal = signal;
        break;
      }
      judge_and_save(result, position_.step_in_epoch == 0);
    }
    if (result.stop_signal == 0 && !result.last && !result.last_ema && evaluates()) {
      run_evaluations(result);  // a run that was complete before: tell its result again
    }
    result.position = position_;
    result.seconds = timer.seconds();
    return result;
  }

  std::vector<ckpt::TensorRef> trained() const { return model_state(model_); }

  std::vector<ckpt::TensorRef> trained_ema() const {
    if (!ema_) return {};
    auto out = ema_->state("param/");
    for (auto& ref : trained()) {
      if (ref.name.starts_with("thresholds/")) out.push_back(std::move(ref));
    }
    return out;
  }

  RunFacts facts_;
  Position position_;
  std::vector<Hook*> hooks_;

 private:
  void open_data() {
    const core::Phase phase(core::PhaseKind::kLoadData);
    const auto& data = config_.data;
    auto train = std::shared_ptr<const data::SampleSource>(data::open_dataset(data.file, data.train_split));
    auto eval = std::shared_ptr<const data::SampleSource>(data::open_dataset(data.file, data.eval_split));
    facts_.num_classes = train->num_classes();
    facts_.train_samples = train->size();
    facts_.eval_samples = eval->size();
    train_loader_ = make_train_loader(std::move(train), config_, control_, place_.device.is_cuda());
    eval_loader_ = make_eval_loader(std::move(eval), data, control_, place_.device.is_cuda());
    if (train_loader_->num_steps() == 0) {
      throw core::DataError(core::str(data.file, ": split '", data.train_split, "' gives no step of batch size ",
                                      data.batch_size, "; give it samples, or set data.drop_last=false"));
    }
  }

  std::vector<ckpt::TensorRef> all_state() const {
    auto tensors = model_state(model_);
    for (auto& ref : optimizer_->state()) tensors.push_back(std::move(ref));
    if (ema_) {
      for (auto& ref : ema_->state("ema/")) tensors.push_back(std::move(ref));
    }
    if (allocator_) {
      for (const auto& [name, tensor] : allocator_->state()) tensors.push_back({"allocator/" + name, tensor});
    }
    if (scaler_) {
      for (auto& ref : scaler_->state()) tensors.push_back(std::move(ref));
    }
    return tensors;
  }

  std::optional<std::string> checkpoint_to_start_from() {
    if (!seams_.replay) return choose_checkpoint(config_, control_);
    return seams_.replay->checkpoint.empty() ? std::nullopt : std::optional(seams_.replay->checkpoint);
  }

  void resume() {
    const core::Phase phase(core::PhaseKind::kLoadCheckpoint);
    const auto path = checkpoint_to_start_from();
    if (!path) return;
    if (!seams_.replay) {
      control_.all_or_none([&] { check_same_job(ckpt::read_manifest(*path), config_json_, *path); });
    }
    const auto state = all_state();
    const ckpt::Manifest manifest = ckpt::load(*path, state, control_);
    control_.all_or_none([&] { restore_sparsities(model_, state); });
    position_ = position_of(manifest);
    if (scaler_) scaler_->check_loaded();
    optimizer_->set_steps_done(position_.step - (scaler_ ? scaler_->skipped() : 0));
    facts_.resumed_from = *path;
    core::log_info(core::str("resumed from ", *path, " at step ", position_.step));
    if (chain_) chain_->resume_from(manifest);
  }

  void gather_facts() {
    const auto& backbone = *model_.backbone;
    facts_.num_ranks = control_.size();
    facts_.device = place_.device.str();
    facts_.trainable_elements = nn::count_elements(backbone.trainable());
    facts_.adapter_elements = nn::count_elements(backbone.adapters());
    facts_.backbone_elements =
        nn::count_elements(backbone.published()) - backbone.head_weight().numel() - backbone.head_bias().numel();
    facts_.bytes_per_step = reducer_->stats().bytes_per_step;
    facts_.steps_per_epoch = train_loader_->num_steps();
    facts_.total_steps = facts_.steps_per_epoch * config_.train.epochs;
    if (config_.train.max_steps > 0) facts_.total_steps = std::min(facts_.total_steps, config_.train.max_steps);
  }

  bool finished() const { return position_.step >= facts_.total_steps; }

  // Once an epoch, which a resume in its middle does not begin anew.
  void allocate() {
    if (!allocator_ || position_.step_in_epoch > 0) return;
    const auto sparsities = allocate_on_root(*allocator_, position_.epoch, control_);
    if (!sparsities) return;
    AllocationEvent event{position_, {}};
    for (size_t i = 0; i < model_.branches.size(); ++i) {
      const auto& [name, branch] = model_.branches[i];
      branch->set_sparsity(sparsities->at(i));
      event.layers.push_back({name, branch->num_entries(), branch->sparsity()});
    }
    for (auto* hook : hooks_) hook->on_allocation(event);
  }

  // Runs to the end of the epoch under way, or of the run; the signal that stopped it, or 0.
  int run_epoch() {
    const double lr = learning_rate(config_.optim.schedule, config_.optim.lr, config_.train.epochs, position_.epoch);
    optimizer_->set_learning_rate(lr);
    allocate();
    train_loader_->start_epoch(position_.epoch, position_.step_in_epoch);
    const StepParts parts{*model_.backbone,
                          *optimizer_,
                          *reducer_,
                          control_,
                          config_.optim,
                          place_,
                          scaler_ ? &*scaler_ : nullptr,
                          chain_ ? chain_->hashes() : nullptr};
    double loss_sum = 0;
    int64_t samples = 0;
    while (!finished()) {
      const auto batch = next_batch();
      if (!batch) break;
      const StepStats stats = train_step(parts, *batch, config_.seed, position_.step);
      if (!stats.finite) {
        tell_or_stop(stats);
      } else {
        if (allocator_) allocator_->observe();
        if (ema_) ema_->update(position_.step + 1);
      }
      if (std::isfinite(stats.loss)) {
        loss_sum += stats.loss * static_cast<double>(stats.samples);
        samples += stats.samples;
      }
      ++position_.step;
      ++position_.step_in_epoch;
      position_.samples_seen += stats.samples;
      if (samples > 0) position_.last_train_loss = loss_sum / static_cast<double>(samples);
      const bool epoch_done = position_.step_in_epoch == facts_.steps_per_epoch;
      if (epoch_done) {
        ++position_.epoch;
        position_.step_in_epoch = 0;
      }
      lr_ = lr;
      after_step(stats);
      if (stats.stop_signal != 0) return stats.stop_signal;
      if (epoch_done) break;
      if (config_.checkpoint.every_steps > 0 && position_.step % config_.checkpoint.every_steps == 0) save(false);
    }
    return 0;
  }

  std::optional<data::Batch> next_batch() {
    if (auto* ring = core::PhaseRing::of_this_thread()) ring->set_step(position_.step + 1);
    const core::Phase phase(core::PhaseKind::kBatch);
    return train_loader_->next();
  }

  void after_step(const StepStats& stats) {
    if (chain_) chain_->add(position_.step, stats.loss);
    const int64_t every = config_.dist.check_replicas_every;
    if (every > 0 && position_.step % every == 0) dist::check_replicas(trainables_, control_, position_.step);
    const StepEvent event{position_, lr_, stats, traffic_->of_step(), fetch_meter_.since_last(place_.storage.get())};
    for (auto* hook : hooks_) hook->on_step(event);
    const auto stragglers = stragglers_->after_step();
    if (stragglers.empty()) return;
    for (auto* hook : hooks_) hook->on_stragglers({position_, stragglers});
  }

  // An update that was not made: part of float16's search for a loss scale, else the end.
  void tell_or_stop(const StepStats& stats) const {
    if (scaler_ && !scaler_->exhausted()) {
      core::log_info(core::str("step ", position_.step, " overflowed at loss scale ", stats.loss_scale,
                               ": its update was skipped (", stats.skipped_steps, " so far); the scale is now ",
                               scaler_->scale()));
      return;
    }
    throw core::NonFiniteError(core::str("step ", position_.step, ": loss ", stats.loss, ", gradient norm ",
                                         stats.grad_norm,
                                         ". The update was not made. Lower optim.lr, set "
                                         "optim.clip_norm, or look for broken weights or data."));
  }

  bool evaluates() const { return config_.train.eval_interval > 0 || config_.train.eval_last > 0; }

  bool evaluation_due(bool epoch_done) const {
    const auto& t = config_.train;
    if (finished()) return evaluates();
    if (!epoch_done) return false;
    return (t.eval_interval > 0 && position_.epoch % t.eval_interval == 0) || position_.epoch > t.epochs - t.eval_last;
  }

  // Of the weights, their average, or both; whether the result is the best of the weights that count.
  void judge_and_save(TrainResult& result, bool epoch_done) {
    const bool is_best = evaluation_due(epoch_done) && run_evaluations(result);
    if (saves() && (save_due(epoch_done) || (is_best && config_.checkpoint.keep_best))) save(is_best);
  }

  // Whether the weights that are looked at are the best so far.
  bool run_evaluations(TrainResult& result) {
    position_.evaluated_step = position_.step;
    const std::string which = ema_ ? config_.optim.ema.evaluate : "model";
    bool model_is_best = false, ema_is_best = false;
    if (which != "ema") {
      result.last = run_evaluation(false, position_.best_top1, position_.best_epoch, model_is_best);
    }
    if (which != "model") {
      const EmaInPlace averaged(*ema_);
      result.last_ema = run_evaluation(true, position_.best_ema_top1, position_.best_ema_epoch, ema_is_best);
    }
    return which == "ema" ? ema_is_best : model_is_best;
  }

  EvalResult run_evaluation(bool ema, double& best_top1, int64_t& best_epoch, bool& is_best) {
    const EvalResult result =
        evaluate(*model_.backbone, *eval_loader_, control_, place_, [this](int64_t done, int64_t of) {
          for (auto* hook : hooks_) hook->on_eval_progress(done, of);
        });
    is_best = result.top1 > best_top1;
    if (is_best) {
      best_top1 = result.top1;
      best_epoch = position_.epoch;
    }
    for (auto* hook : hooks_) hook->on_evaluation({position_, lr_, result, is_best, ema});
    return result;
  }

  bool saves() const { return config_.checkpoint.every_epochs > 0 || config_.checkpoint.every_steps > 0; }

  bool save_due(bool epoch_done) const {
    const auto& c = config_.checkpoint;
    return finished() || (epoch_done && c.every_epochs > 0 && position_.epoch % c.every_epochs == 0) ||
           (c.every_steps > 0 && position_.step % c.every_steps == 0);
  }

  void save(bool is_best) {
    const core::Phase phase(core::PhaseKind::kSave);
    auto state = checkpoint_state(position_, config_.seed, config_json_, all_state());
    if (chain_) state.extra[kChainLink] = chain_->flush();
    const auto info = ckpt::save(config_.run.dir, state, control_, config_.checkpoint, is_best);
    for (auto* hook : hooks_) hook->on_checkpoint({info.step, info.path, info.bytes, info.seconds});
  }

  const JobConfig config_;
  const std::string config_json_;
  dist::ControlPlane& control_;
  const TrainerSeams seams_;
  nn::TensorPlace place_;
  std::unique_ptr<dist::Communicator> communicator_;
  std::unique_ptr<data::DataLoader> train_loader_, eval_loader_;
  peft::TunedModel model_;
  std::vector<dist::NamedTensor> trainables_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<WeightsEma> ema_;
  std::optional<peft::BudgetAllocator> allocator_;
  std::optional<LossScaler> scaler_;  // float16 only
  std::optional<StepChain> chain_;
  std::unique_ptr<dist::Reducer> reducer_;
  FetchMeter fetch_meter_;
  std::optional<dist::StragglerWatch> stragglers_;
  std::optional<TrafficMeter> traffic_;
  double lr_ = 0;
};

Trainer::Trainer(const JobConfig& config, std::string config_json, dist::ControlPlane& control, TrainerSeams seams)
    : run_(std::make_unique<Run>(config, std::move(config_json), control, std::move(seams))) {}
Trainer::~Trainer() = default;

const RunFacts& Trainer::facts() const {
  return run_->facts_;
}
const Position& Trainer::position() const {
  return run_->position_;
}
std::vector<ckpt::TensorRef> Trainer::trained() const {
  return run_->trained();
}
std::vector<ckpt::TensorRef> Trainer::trained_ema() const {
  return run_->trained_ema();
}
void Trainer::add_hook(Hook& hook) {
  run_->hooks_.push_back(&hook);
}
TrainResult Trainer::run() {
  return run_->run();
}

}  // namespace snell::train
