#include "snell/peft/budget_allocator.h"

#include <ATen/ops/_foreach_mul.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "snell/core/error.h"

namespace snell::peft {
namespace {

template <class T>
double sum(const std::vector<T>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

std::vector<at::Tensor> matrices_of(const Branch& branch) {
  std::vector<at::Tensor> out;
  for (const auto& [name, tensor] : branch.factors()) {
    if (tensor.dim() > 1) out.push_back(tensor);  // a mixed kernel's scalars have no claim
  }
  return out;
}

// Of the entries that stay; 0 where none does.
double mean_kept_magnitude(const Branch& branch) {
  const at::Tensor magnitude = branch.merged().abs();
  return (magnitude.sum() / (magnitude > 0).sum().clamp_min(1)).item<double>();
}

}  // namespace

void bind(config::Binder& b, AllocatorConfig& c) {
  b.field(
      "metric", c.metric,
      "what layers compete by for the entries that stay: ipt (|p·grad| of the factors), mag (|p|), w_mag (mean kept "
      "|ΔW|); none: every layer keeps its sparsity",
      config::one_of({"none", "ipt", "mag", "w_mag"}));
  b.field("target_sparsity", c.target_sparsity, "sparsity of all adapted weights together at the end",
          config::fraction());
  b.field("warmup_epochs", c.warmup_epochs, "last epoch (0-based) with the sparsities that the run starts with",
          config::at_least(0));
  b.field("final_epochs", c.final_epochs, "last epochs, in which target_sparsity is reached and kept",
          config::at_least(0));
  b.field("beta1", c.beta1, "decay of the importance's moving average", config::Limits{0.0, 1.0, false, true, {}});
  b.field("beta2", c.beta2, "decay of its uncertainty's moving average", config::Limits{0.0, 1.0, false, true, {}});
}

double kept_volume(const AllocatorConfig& config, double initial, double target, int64_t epoch, int64_t epochs) {
  const int64_t first = config.warmup_epochs, last = epochs - config.final_epochs;
  if (epoch <= first) return initial;
  if (epoch >= last) return target;
  const double left = 1 - static_cast<double>(epoch - first) / static_cast<double>(last - first);
  return target + (initial - target) * left * left * left;
}

std::vector<int64_t> share_out(const std::vector<double>& scores, const std::vector<int64_t>& capacities,
                               int64_t volume) {
  std::vector<int64_t> out(scores.size(), 0);
  for (bool first = true, filled = true; first || filled; first = false) {
    int64_t rest = volume;
    double score_left = 0;
    for (size_t i = 0; i < scores.size(); ++i) {
      rest -= out[i];
      if (out[i] < capacities[i]) score_left += scores[i];
    }
    if (rest <= 0 || score_left <= 0) break;
    filled = first;  // the first round's rest is shared out once more in any case
    for (size_t i = 0; i < scores.size(); ++i) {
      if (out[i] == capacities[i]) continue;
      out[i] +=
          std::min(static_cast<int64_t>(static_cast<double>(rest) * (scores[i] / score_left)), capacities[i] - out[i]);
      filled = filled || out[i] == capacities[i];
    }
  }
  return out;
}

BudgetAllocator::BudgetAllocator(std::vector<NamedBranch> branches, const AllocatorConfig& config, int64_t epochs)
    : config_(config), epochs_(epochs), branches_(std::move(branches)) {
  const c10::NoGradGuard no_grad;
  std::vector<std::string> names;
  for (const auto& [name, branch] : branches_) {
    core::check(branch->num_entries() > 0, core::str("the entries of ", name, " do not compete"));
    capacities_.push_back(branch->num_entries());
    initial_volume_ += (1 - branch->sparsity()) * static_cast<double>(branch->num_entries());
    const auto matrices = matrices_of(*branch);
    factor_counts_.push_back(static_cast<int64_t>(matrices.size()));
    factors_.insert(factors_.end(), matrices.begin(), matrices.end());
    for (const auto& factor : branch->factors()) {
      if (factor.tensor.dim() > 1) names.push_back(factor.name);
    }
  }
  if (config_.metric == "w_mag") return;
  int64_t total = 0;
  for (const auto& factor : factors_) total += factor.numel();
  importance_ = at::zeros({total}, factors_.at(0).options().requires_grad(false));
  uncertainty_ = at::zeros_like(importance_);
  int64_t begin = 0;
  for (size_t i = 0; i < factors_.size(); begin += factors_[i++].numel()) {
    const auto view = [&](const at::Tensor& flat) {
      return flat.narrow(0, begin, factors_[i].numel()).view(factors_[i].sizes());
    };
    state_.push_back({"importance/" + names[i], view(importance_)});
    state_.push_back({"uncertainty/" + names[i], view(uncertainty_)});
  }
}

void BudgetAllocator::observe() {
  if (config_.metric == "w_mag") return;
  const c10::NoGradGuard no_grad;
  std::vector<at::Tensor> values = factors_;
  if (config_.metric == "ipt") {
    std::vector<at::Tensor> grads;
    for (const auto& factor : factors_) grads.push_back(factor.grad());
    values = at::_foreach_mul(factors_, grads);
  }
  for (auto& value : values) value = value.flatten();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const at::Tensor now = at::cat(values).abs_().nan_to_num_(0.0, kInfinity, -kInfinity);
  importance_.lerp_(now, 1 - config_.beta1);
  uncertainty_.lerp_((now - importance_).abs_(), 1 - config_.beta2);
}

std::vector<double> BudgetAllocator::scores() const {
  std::vector<double> out;
  if (config_.metric == "w_mag") {
    for (const auto& [name, branch] : branches_) out.push_back(mean_kept_magnitude(*branch));
    return out;
  }
  const at::Tensor products = importance_ * uncertainty_;
  std::vector<at::Tensor> means;
  int64_t begin = 0;
  for (const auto& factor : factors_) {
    means.push_back(products.narrow(0, begin, factor.numel()).mean(at::kDouble));
    begin += factor.numel();
  }
  const at::Tensor on_host = at::stack(means).cpu();
  const double* next = on_host.const_data_ptr<double>();
  for (const int64_t count : factor_counts_) {
    out.push_back(std::accumulate(next, next + count, 0.0));
    next += count;
  }
  return out;
}

std::optional<std::vector<double>> BudgetAllocator::allocate(int64_t epoch) const {
  if (epoch <= config_.warmup_epochs) return std::nullopt;
  const c10::NoGradGuard no_grad;
  const std::vector<double> claims = scores();
  const double total = sum(claims);
  if (!(total > 0) || !std::isfinite(total)) return std::nullopt;
  const double entries = sum(capacities_), target = (1 - config_.target_sparsity) * entries;
  const auto volume = static_cast<int64_t>(kept_volume(config_, initial_volume_, target, epoch, epochs_));
  const std::vector<int64_t> kept = share_out(claims, capacities_, volume);
  std::vector<double> out;
  for (size_t i = 0; i < kept.size(); ++i) {
    out.push_back(1 - static_cast<double>(kept[i]) / static_cast<double>(capacities_[i]));
  }
  return out;
}

}  // namespace snell::peft
