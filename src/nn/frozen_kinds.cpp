#include "snell/nn/frozen_kinds.h"

#include "snell/nn/compact_frozen_weight.h"
#include "snell/nn/mapped_weights.h"

namespace snell::nn {
namespace {

template <class Weight>
class CompactStorage : public core::FrozenStorage {
 public:
  explicit CompactStorage(const TensorPlace& place) : place_(place) {}

 protected:
  std::shared_ptr<core::StoredWeight> make(const core::FrozenSpec& spec) override {
    return std::make_shared<Weight>(spec, place_);
  }

 private:
  TensorPlace place_;
};

}  // namespace

std::shared_ptr<core::FrozenStorage> make_frozen_kind(const BackboneConfig& config, const TensorPlace& place) {
  if (config.frozen_storage == "mapped") return std::make_shared<MappedStorage>(config.weights, place);
  if (config.frozen_storage == "int8") return std::make_shared<CompactStorage<Int8Weight>>(place);
  if (config.frozen_storage == "bfloat16" && place.dtype != at::kBFloat16) {
    return std::make_shared<CompactStorage<Bfloat16Weight>>(place);
  }
  return nullptr;
}

}  // namespace snell::nn
