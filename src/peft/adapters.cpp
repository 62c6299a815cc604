// The adapters by name: what each is composed of.
#include "snell/peft/bottleneck.h"
#include "snell/peft/low_rank.h"
#include "snell/peft/tuning.h"

namespace snell::peft {
namespace {

std::unique_ptr<Sparsifier> make_sparsifier(const AdapterConfig& config) {
  if (config.sparsifier == "soft_threshold") return std::make_unique<SoftThreshold>(config.sparsity);
  return std::make_unique<HardThreshold>(config.sparsity);
}

// The four kernel adapters differ in the kernel (mixed or not) and in whether its entries compete.
BranchFactory kernel_adapter(bool mixed, bool sparse) {
  return [mixed, sparse](const std::string& path, int64_t in, int64_t out, const AdapterConfig& c,
                         const nn::TensorPlace& place) {
    const KernelDelta::Shape shape{in, out, c.rank, c.heads, c.norm_p, mixed};
    // The published code's snell at s = 0 keeps everything and does not square; snella's does. A sparsity that an
    // allocator moves must not change what is computed where it touches 0.
    const bool moves = c.allocator.metric != "none";
    const bool competes = sparse && (mixed || moves || c.sparsity > 0 || c.sparsifier == "soft_threshold");
    auto sparsifier = competes ? make_sparsifier(c) : std::make_unique<KeepAll>();
    return std::make_shared<DeltaBranch>(std::make_unique<KernelDelta>(path, shape, std::move(sparsifier), place));
  };
}

BranchFactory low_rank_adapter(bool with_bias) {
  return [with_bias](const std::string& path, int64_t in, int64_t out, const AdapterConfig& c,
                     const nn::TensorPlace& place) {
    return std::make_shared<LowRankBranch>(path, in, out, c.rank, with_bias, place);
  };
}

core::Registry<BranchFactory> all_adapters() {
  core::Registry<BranchFactory> registry("adapter");
  registry.add("klora", kernel_adapter(false, false));
  registry.add("mixk", kernel_adapter(true, false));
  registry.add("snell", kernel_adapter(false, true));
  registry.add("snella", kernel_adapter(true, true));
  registry.add("lora", low_rank_adapter(false));
  registry.add("lora_bias", low_rank_adapter(true));
  registry.add("adapter", [](const std::string& path, int64_t in, int64_t out, const AdapterConfig& c,
                             const nn::TensorPlace& place) {
    return std::make_shared<BottleneckBranch>(path, in, out, c.rank, place);
  });
  return registry;
}

}  // namespace

const core::Registry<BranchFactory>& adapters() {
  static const core::Registry<BranchFactory> registry = all_adapters();
  return registry;
}

}  // namespace snell::peft
