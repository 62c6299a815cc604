#include "snell/train/evaluate.h"

#include "rank_sum.h"
#include "snell/core/phase.h"
#include "snell/core/timer.h"
#include "snell/train/step.h"

namespace snell::train {
namespace {

struct Tally {
  double loss = 0;
  int64_t top1 = 0, top5 = 0, samples = 0;
  Tally& operator+=(const Tally& other) {
    loss += other.loss;
    top1 += other.top1;
    top5 += other.top5;
    samples += other.samples;
    return *this;
  }
};

Tally judge(const nn::Backbone& model, const data::Shard& shard, const nn::TensorPlace& place) {
  const at::Tensor labels_B = shard.labels_B.to(place.device);
  const at::Tensor logits_BK = model.forward(shard.images_BCHW.to(place.device, place.dtype), core::StepContext{});
  const int64_t k = std::min<int64_t>(5, logits_BK.size(1));
  const at::Tensor hits_BK = std::get<1>(logits_BK.topk(k, 1)) == labels_B.unsqueeze(1);
  return {cross_entropy_sum(logits_BK, labels_B).item<double>(), hits_BK.select(1, 0).sum().item<int64_t>(),
          hits_BK.sum().item<int64_t>(), labels_B.size(0)};
}

}  // namespace

EvalResult evaluate(const nn::Backbone& model, data::DataLoader& loader, dist::ControlPlane& control,
                    const nn::TensorPlace& place, const std::function<void(int64_t, int64_t)>& progress) {
  const at::NoGradGuard no_grad;
  const core::Timer timer;
  Tally mine;
  int64_t done = 0;
  loader.start_epoch(0);
  const auto next = [&] {
    const core::Phase phase(core::PhaseKind::kBatch);
    return loader.next();
  };
  while (const auto batch = next()) {
    const core::Phase phase(core::PhaseKind::kEvaluate);
    for (const auto& shard : batch->shards) {
      if (!shard.dummy) {
        mine += judge(model, shard, place);
      } else if (model.storage() != nullptr && model.storage()->is_collective()) {
        judge(model, shard, place);  // the other ranks gather weights, and this one has a part of them
      }
    }
    if (progress) progress(++done, loader.num_steps());
  }
  const Tally all = sum_over_ranks(mine, control);
  const double count = static_cast<double>(std::max<int64_t>(all.samples, 1));
  return {all.loss / count, 100.0 * static_cast<double>(all.top1) / count,
          100.0 * static_cast<double>(all.top5) / count, all.samples, timer.seconds()};
}

std::unique_ptr<data::DataLoader> make_eval_loader(std::shared_ptr<const data::SampleSource> source,
                                                   const data::DataConfig& config, const dist::ControlPlane& control,
                                                   bool pin_memory) {
  data::LoaderOptions options;
  options.shuffle = false;
  options.batch_size = config.eval_batch_size * control.size();
  options.num_shards = options.num_ranks = control.size();
  options.rank = control.rank();
  options.workers = config.workers;
  options.prefetch = config.prefetch;
  options.pin_memory = pin_memory;
  return std::make_unique<data::DataLoader>(std::move(source),
                                            data::make_transform(config.transform.eval, config.transform), options);
}

}  // namespace snell::train
