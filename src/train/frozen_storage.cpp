#include "snell/train/frozen_storage.h"

#include "snell/core/log.h"
#include "snell/dist/groups.h"
#include "snell/dist/sharded_weights.h"
#include "snell/nn/frozen_kinds.h"

namespace snell::train {
namespace {

std::shared_ptr<core::FrozenStorage> make_sharded(const JobConfig& config, const nn::TensorPlace& place,
                                                  dist::ControlPlane& control) {
  const std::string& kind = config.dist.shard.frozen;
  const dist::RankGroup group =
      kind == "hybrid" ? dist::node_layout(control, config.dist.wire.node_size).within : dist::whole_world(control);
  if (control.all_agree(group.size() == 1)) {
    core::log_warning(core::str("dist.shard_frozen=", kind, " has no effect: ",
                                control.size() == 1 ? "there is one rank" : "every node has one rank",
                                ", which keeps all frozen weights"));
    return nullptr;
  }
  std::shared_ptr<dist::Communicator> communicator =
      dist::make_communicator(config.dist, control, place.device, "weights", group);
  const auto stored = config.backbone.frozen_storage == "bfloat16" ? at::kBFloat16 : place.dtype;
  return std::make_shared<dist::ShardedWeights>(std::move(communicator),
                                                dist::ShardedTypes{stored, place.dtype, place.device});
}

void warn_of_unused(const std::string& setting, const std::string& value, const std::string& unused,
                    const std::string& beside) {
  if (value != unused) core::log_warning(core::str(setting, "=", value, " has no effect with ", beside));
}

}  // namespace

nn::TensorPlace make_place(const JobConfig& config, c10::Device device, dist::ControlPlane& control) {
  nn::TensorPlace place{compute_dtype(config.run), device};
  place.storage = make_frozen_storage(config, place, control);
  return place;
}

std::shared_ptr<core::FrozenStorage> make_frozen_storage(const JobConfig& config, const nn::TensorPlace& place,
                                                         dist::ControlPlane& control) {
  const std::string &kind = config.backbone.frozen_storage, &sharded = config.dist.shard.frozen;
  if (config.adapter.name == "full") {
    warn_of_unused("dist.shard_frozen", sharded, "none", "adapter=full, which freezes nothing");
    warn_of_unused("backbone.frozen_storage", kind, "plain", "adapter=full, which freezes nothing");
    return nullptr;
  }
  if (kind == config.run.dtype) warn_of_unused("backbone.frozen_storage", kind, "plain", "run.dtype=" + kind);
  std::shared_ptr<core::FrozenStorage> storage;
  if (sharded != "none") storage = make_sharded(config, place, control);
  if (storage == nullptr) control.all_or_none([&] { storage = nn::make_frozen_kind(config.backbone, place); });
  return storage;
}

}  // namespace snell::train
