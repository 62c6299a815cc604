#include "snell/train/step.h"

#include <cmath>
#include <optional>
#include <span>

#include "rank_sum.h"
#include "snell/core/phase.h"
#include "snell/core/signals.h"
#include "snell/core/timer.h"

namespace snell::train {
namespace {

struct Tally {
  double loss = 0;
  int64_t correct = 0;
  int64_t stop_signal = 0;
  int64_t bad_norms =
      0;  // shards of ranks whose gradients are not finite: all of them, unless a rank's memory is damaged
  core::Hash128 gradients;  // of one shard, where a chain is kept
  Tally& operator+=(const Tally& other) {
    loss += other.loss;
    correct += other.correct;
    stop_signal = std::max(stop_signal, other.stop_signal);
    bad_norms += other.bad_norms;
    return *this;
  }
};

struct ShardResult {
  at::Tensor loss, correct;  // 0-d, on the device
};

// A tally a shard: added in the order of shards, their losses have equal bits whichever rank had which. `hashes`: may
// be null.
Tally sum_over_shards(const StepTensors& tensors, bool finite_norm, dist::ControlPlane& control,
                      GradientHashes* hashes) {
  const at::Tensor losses = at::stack(tensors.losses).to(at::kCPU), corrects = at::stack(tensors.corrects).to(at::kCPU);
  std::vector<Tally> mine;
  for (int64_t i = 0; i < losses.numel(); ++i) {
    mine.push_back(
        {losses[i].item<double>(), corrects[i].item<int64_t>(), core::stop_signal(), finite_norm ? 0 : 1, {}});
    if (hashes != nullptr) mine.back().gradients = hashes->mine.at(static_cast<size_t>(i));
  }
  Tally total;
  for (const Tally& one : gather_from_ranks(std::span<const Tally>(mine), control)) {
    total += one;
    if (hashes != nullptr) hashes->shards.push_back(one.gradients);
  }
  return total;
}

ShardResult run_shard(const StepParts& parts, const data::Shard& shard, int64_t global_count,
                      const core::StepContext& context) {
  const double loss_scale = parts.scaler != nullptr ? parts.scaler->scale() : 1;
  const at::Tensor images = shard.images_BCHW.to(parts.place.device, parts.place.dtype, /*non_blocking=*/true);
  const at::Tensor labels_B = shard.labels_B.to(parts.place.device, /*non_blocking=*/true);
  std::optional<core::Phase> phase(std::in_place, core::PhaseKind::kForward);
  const at::Tensor logits_BK = parts.model.forward(images, context);
  // A dummy goes through the model, so that every rank's hooks fire, and weighs nothing.
  at::Tensor loss = shard.dummy ? logits_BK.sum() * 0
                                : cross_entropy_sum(logits_BK, labels_B, parts.config.label_smoothing) /
                                      static_cast<double>(global_count);
  phase.emplace(core::PhaseKind::kBackward);
  (loss_scale == 1 ? loss : loss * loss_scale).backward();
  const at::Tensor correct = (logits_BK.detach().argmax(1) == labels_B).sum() * (shard.dummy ? 0 : 1);
  return {loss.detach(), correct};
}

}  // namespace

at::Tensor cross_entropy_sum(const at::Tensor& logits_BK, const at::Tensor& targets, double label_smoothing) {
  return at::cross_entropy_loss(logits_BK, targets, {}, at::Reduction::Sum, /*ignore_index=*/-100, label_smoothing);
}

StepTensors compute_gradients(const StepParts& parts, const data::Batch& batch, uint64_t seed, int64_t step) {
  StepTensors out;
  for (size_t i = 0; i < batch.shards.size(); ++i) {
    const data::Shard& shard = batch.shards[i];
    const core::StepContext context{seed, static_cast<uint32_t>(step), shard.slots.empty() ? 0 : shard.slots.front(),
                                    /*training=*/true};
    parts.reducer.begin(shard.id, i + 1 == batch.shards.size());
    const ShardResult result = run_shard(parts, shard, batch.global_count, context);
    parts.reducer.end();
    out.losses.push_back(result.loss.to(at::kDouble));
    out.corrects.push_back(result.correct);
  }
  parts.reducer.finish();
  if (parts.scaler != nullptr) parts.scaler->unscale(parts.model.trainable());
  out.grad_norm = parts.optimizer.clip(parts.config.clip_norm);
  return out;
}

StepStats train_step(const StepParts& parts, const data::Batch& batch, uint64_t seed, int64_t step) {
  const core::Timer timer;
  const StepTensors tensors = compute_gradients(parts, batch, seed, step);

  // The one place where the host waits for the device: a step that is not finite must not be taken by any rank.
  const double grad_norm = [&] {
    const core::Phase phase(core::PhaseKind::kDevice);
    return tensors.grad_norm.item<double>();
  }();
  const Tally total = sum_over_shards(tensors, std::isfinite(grad_norm), parts.control, parts.hashes);
  StepStats stats;
  stats.loss = total.loss;
  stats.grad_norm = grad_norm;
  stats.samples = batch.global_count;
  stats.correct = total.correct;
  stats.stop_signal = static_cast<int>(total.stop_signal);
  stats.finite = std::isfinite(stats.loss) && total.bad_norms == 0;
  if (stats.finite) {
    const core::Phase phase(core::PhaseKind::kUpdate);
    parts.optimizer.step();
  }
  if (parts.scaler != nullptr) {
    stats.loss_scale = parts.scaler->scale();
    parts.scaler->update(stats.finite);
    stats.skipped_steps = parts.scaler->skipped();
  }
  stats.seconds = timer.seconds();
  return stats;
}

}  // namespace snell::train
