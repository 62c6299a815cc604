// SNELLA's bi-level competition (arXiv 2510.24037): once an epoch the layers compete for the entries of ΔW that stay,
// as those of a layer compete within it. A layer's claim is its factors' importance |p·grad|, smoothed and weighed by
// its uncertainty as AdaLoRA does (arXiv 2303.10512, Eqs. 8 to 11).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "snell/config/binder.h"
#include "snell/peft/branch.h"

namespace snell::peft {

struct AllocatorConfig {
  std::string metric = "none";
  double target_sparsity = 0.5;
  int64_t warmup_epochs = 0;
  int64_t final_epochs = 0;
  double beta1 = 0.85;
  double beta2 = 0.85;
};

void bind(config::Binder& binder, AllocatorConfig& config);

// Entries that all layers together keep in `epoch` (0-based) of `epochs`: from `initial` to `target` by a cubic,
// between the warm-up's end and the final epochs' begin.
double kept_volume(const AllocatorConfig& config, double initial, double target, int64_t epoch, int64_t epochs);

// `volume` shared out by `scores` (not negative, finite), no layer getting more than its `capacities`: what full layers
// leave goes to those with room, again by score. Shares are rounded down, as in the published code, so that a few
// entries can be left. Layers without a score get nothing. Both of one length.
std::vector<int64_t> share_out(const std::vector<double>& scores, const std::vector<int64_t>& capacities,
                               int64_t volume);

// Reads factors and gradients where they lie and never waits for the device but in allocate(). Not for several threads.
class BudgetAllocator {
 public:
  // Branches whose entries compete, with the sparsities that the run begins with (not those it is resumed with).
  BudgetAllocator(std::vector<NamedBranch> branches, const AllocatorConfig& config, int64_t epochs);

  // After each optimizer step, while the gradients are still there.
  void observe();
  // Before `epoch` (0-based) is trained: the sparsity of each branch, in their order; nothing in the warm-up, or when
  // no layer has a score. Waits for the device.
  std::optional<std::vector<double>> allocate(int64_t epoch) const;

  // Moving averages of every factor: "importance/<factor>", "uncertainty/<factor>". Live: to be saved, or filled by
  // loading. None for w_mag.
  const nn::Parameters& state() const { return state_; }

 private:
  std::vector<double> scores() const;

  AllocatorConfig config_;
  int64_t epochs_;
  std::vector<NamedBranch> branches_;
  std::vector<int64_t> capacities_;
  double initial_volume_ = 0;
  std::vector<at::Tensor> factors_;      // the branches' matrices, in order
  std::vector<int64_t> factor_counts_;   // of each branch
  at::Tensor importance_, uncertainty_;  // of all factors, one after the other
  nn::Parameters state_;                 // views of them
};

}  // namespace snell::peft
