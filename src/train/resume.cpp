#include "resume.h"

#include <nlohmann/json.hpp>
#include <set>

#include "snell/core/hash.h"
#include "snell/core/log.h"

namespace snell::train {
namespace {

using nlohmann::json;

// Settings that make another job of it: what is trained, on what, in which order.
const std::vector<std::string> kIdentity{
    "/seed",           "/backbone",  "/adapter",   "/data/train_split", "/data/batch_size",
    "/data/transform", "/run/dtype", "/optim/name"};
// Settings that may differ between two parts of a run without a word.
const std::vector<std::string> kFree{"/run",
                                     "/data/workers",
                                     "/data/prefetch",
                                     "/data/eval_batch_size",
                                     "/data/file",
                                     "/dist/backend",
                                     "/dist/bucket_mb",
                                     "/dist/check_replicas_every",
                                     "/dist/shard_frozen",
                                     "/dist/shard_optimizer",
                                     "/dist/chain",
                                     "/checkpoint"};

bool begins_with_one_of(const std::string& key, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const std::string& p) { return key == p || key.starts_with(p + "/"); });
}

}  // namespace

std::optional<std::string> choose_checkpoint(const JobConfig& config, dist::ControlPlane& control) {
  auto path = ckpt::find_latest(config.run.dir, control, config.checkpoint);
  if (path && config.run.resume == "never") {
    throw core::ConfigError(core::str("run.resume=never, but ", config.run.dir, " holds the checkpoint ", *path,
                                      ". Choose another run.dir, or run.resume=auto to go on."));
  }
  if (!path && config.run.resume == "must") {
    throw core::ConfigError(core::str("run.resume=must, but ", config.run.dir, " holds no checkpoint."));
  }
  return path;
}

ckpt::TrainState checkpoint_state(const Position& position, uint64_t seed, const std::string& config_json,
                                  std::vector<ckpt::TensorRef> tensors) {
  ckpt::TrainState state;
  state.step = position.step;
  state.epoch = position.epoch;
  state.step_in_epoch = position.step_in_epoch;
  state.samples_seen = position.samples_seen;
  state.seed = seed;
  state.config_hash = core::hash128(config_json.data(), config_json.size()).hex();
  state.metrics = {{"last_train_loss", position.last_train_loss}, {"best_top1", position.best_top1},
                   {"best_epoch", position.best_epoch},           {"best_ema_top1", position.best_ema_top1},
                   {"best_ema_epoch", position.best_ema_epoch},   {"evaluated_step", position.evaluated_step}};
  state.extra = {{"config", json::parse(config_json)}};
  state.tensors = std::move(tensors);
  return state;
}

Position position_of(const ckpt::Manifest& manifest) {
  Position out;
  out.step = manifest.step;
  out.epoch = manifest.epoch;
  out.step_in_epoch = manifest.step_in_epoch;
  out.samples_seen = manifest.samples_seen;
  out.last_train_loss = manifest.metrics.value("last_train_loss", 0.0);
  out.best_top1 = manifest.metrics.value("best_top1", -1.0);
  out.best_epoch = manifest.metrics.value("best_epoch", int64_t{0});
  out.best_ema_top1 = manifest.metrics.value("best_ema_top1", -1.0);
  out.best_ema_epoch = manifest.metrics.value("best_ema_epoch", int64_t{0});
  out.evaluated_step = manifest.metrics.value("evaluated_step", out.step);
  return out;
}

void check_same_job(const ckpt::Manifest& manifest, const std::string& config_json, const std::string& path) {
  const json before = manifest.extra.value("config", json::object()).flatten();
  const json now = json::parse(config_json).flatten();
  const auto value_of = [](const json& flat, const std::string& key) {
    return flat.contains(key) ? flat.at(key).dump() : std::string("(none)");
  };
  std::set<std::string> keys;
  for (const auto& side : {&before, &now}) {
    for (const auto& item : side->items()) keys.insert(item.key());
  }
  for (const auto& key : keys) {
    const std::string old_value = value_of(before, key), new_value = value_of(now, key);
    if (old_value == new_value) continue;
    const std::string change = core::str(key.substr(1), " was ", old_value, ", is now ", new_value);
    if (begins_with_one_of(key, kIdentity)) {
      throw core::ConfigError(
          core::str("cannot resume from ", path, ": ", change, ". Choose another run.dir for another job."));
    }
    if (!begins_with_one_of(key, kFree)) core::log_warning(core::str("resuming with a changed setting: ", change));
  }
}

}  // namespace snell::train
