#include "step_chain.h"

#include <utility>

#include "snell/train/model.h"

namespace snell::train {
namespace {

core::Hash128 bytes_hash(const at::Tensor& gradients) {
  const at::Tensor host = gradients.to(at::kCPU).contiguous();
  return core::hash128(host.const_data_ptr(), host.nbytes());
}

}  // namespace

dist::ShardObserver StepChain::shard_observer() {
  return [this](int64_t shard, const at::Tensor& gradients) {
    if (seams_.shard_observer) seams_.shard_observer(shard, gradients);
    hashes_.mine.push_back(bytes_hash(gradients));
  };
}

dist::SumObserver StepChain::sum_observer() {
  return [this](const at::Tensor& gradients) {
    if (is_root_) hashes_.sum = bytes_hash(gradients);
  };
}

core::Hash128 StepChain::state() const {
  auto tensors = model_state(model_);
  if (scaler_ != nullptr) {
    for (auto& ref : scaler_->state()) tensors.push_back(std::move(ref));
  }
  return state_hash(tensors);
}

void StepChain::begin(const JobConfig& config, const std::string& config_json, const RunFacts& facts, int64_t step,
                      dist::ControlPlane& control) {
  is_root_ = control.is_root();
  control.all_or_none([&] {
    if (!is_root_) return;
    if (seams_.replay) {
      seams_.replay->on_start(state());
      return;
    }
    ChainPart start{step,    control.size(), own_facts(facts.device),
                    state(), /*link=*/{},    nlohmann::json::parse(config_json)};
    writer_ = std::make_unique<ChainWriter>(config.run.dir + "/" + kChainName, std::move(start),
                                            checkpoint_link_.has_value(), checkpoint_link_.value_or(""));
  });
}

void StepChain::add(int64_t step, double loss) {
  GradientHashes hashes = std::exchange(hashes_, {});
  if (!is_root_) return;
  ChainRecord record{step, std::move(hashes.shards), hashes.sum, state(), loss, /*link=*/{}};
  if (seams_.replay) {
    seams_.replay->on_record(record);
  } else {
    writer_->add(std::move(record));
  }
}

std::string StepChain::flush() {
  if (!writer_) return "";
  writer_->flush();
  return writer_->link().hex();
}

}  // namespace snell::train
