// Where the frozen matrices of a model's projections are kept, if not plainly: sharded over ranks, in fewer bits, in a
// mapped file. The layers know nothing of it: they acquire a FrozenWeight. One storage serves one model.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "snell/core/frozen_weight.h"

namespace snell::core {

// A frozen weight that keeps less, or elsewhere, than the matrix it stands for.
class StoredWeight : public FrozenWeight {
 public:
  // Gives the weight its value: `weight_OI` [out, in] of any floating type, on the CPU (or the meta device), which may
  // view a mapped weight file. The storage keeps what it needs; the caller drops the rest. Before the first acquire();
  // on every rank, in the same order; local, no collective.
  virtual void set(const at::Tensor& weight_OI) = 0;
  // Whether it has its value from elsewhere, so that set() must not be called.
  virtual bool has_value() const { return false; }
};

struct FrozenSpec {
  std::string name;   // the published weight's: "blocks.0.attn.qkv.weight"
  std::string block;  // what is used about the same time: "blocks.0"
  int64_t out_features = 0, in_features = 0;
};

// What fetching weights from elsewhere has cost since the start.
struct FetchTotals {
  int64_t bytes = 0;           // received from other ranks
  double exposed_seconds = 0;  // that acquire() kept the host waiting
};

class FrozenStorage {
 public:
  virtual ~FrozenStorage() = default;

  // A place for one more weight, whose value is not set yet. In the order of the forward pass.
  std::shared_ptr<StoredWeight> add(const FrozenSpec& spec) {
    auto weight = make(spec);
    weights_[spec.name] = weight;
    return weight;
  }
  // The weight that was added under the published name; null where that tensor is plain.
  StoredWeight* find(const std::string& name) const {
    const auto found = weights_.find(name);
    return found == weights_.end() ? nullptr : found->second.get();
  }
  // Whether acquire() talks to other ranks, so that every rank must run the same forward and backward passes.
  virtual bool is_collective() const { return false; }
  virtual FetchTotals fetched() const { return {}; }

 protected:
  virtual std::shared_ptr<StoredWeight> make(const FrozenSpec& spec) = 0;

 private:
  std::map<std::string, std::shared_ptr<StoredWeight>> weights_;
};

}  // namespace snell::core
