// Which steps are replayed from where, and what a difference is called.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <set>

#include "snell/core/error.h"
#include "snell/core/random.h"
#include "snell/core/text.h"
#include "snell/train/verify.h"

namespace snell::train {
namespace {

using core::str;

// `count` of the steps [first, last], ascending.
std::vector<int64_t> draw_steps(int64_t first, int64_t last, int64_t count, uint64_t seed) {
  std::vector<int64_t> steps(static_cast<size_t>(last - first + 1));
  std::iota(steps.begin(), steps.end(), first);
  const auto wanted = static_cast<size_t>(std::min<int64_t>(count, last - first + 1));
  core::RandomStream random({seed, core::Purpose::kSample, 0, 0, 0});
  for (size_t i = 0; i < wanted; ++i) {
    std::swap(steps[i], steps[i + random.below(static_cast<uint32_t>(steps.size() - i))]);
  }
  steps.resize(wanted);
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::vector<int64_t> choose_steps(const VerifyPlan& plan, const VerifyRequest& request) {
  if (request.all) return draw_steps(plan.first, plan.last, plan.last - plan.first + 1, 0);
  if (request.steps.empty()) return draw_steps(plan.first, plan.last, request.num_steps, request.seed);
  for (const int64_t step : request.steps) {
    if (step >= plan.first && step <= plan.last) continue;
    throw core::ConfigError(str("step ", step, " cannot be replayed: steps ", plan.first, " to ", plan.last,
                                " can. A step needs a checkpoint before it (checkpoint.keep says how many stay), or a "
                                "chain from the run's start"));
  }
  const std::set<int64_t> ordered(request.steps.begin(), request.steps.end());
  return {ordered.begin(), ordered.end()};
}

std::string listed(const std::vector<int64_t>& numbers) {
  std::vector<std::string> out;
  for (const int64_t number : numbers) out.push_back(std::to_string(number));
  return core::join(out);
}

}  // namespace

int64_t VerifyPlan::num_replayed() const {
  int64_t count = 0;
  for (const Stretch& stretch : stretches) count += stretch.to - stretch.from.step;
  return count;
}

VerifyPlan plan_verification(const std::vector<Start>& starts, int64_t last_step, const VerifyRequest& request) {
  if (starts.empty() || starts.front().step >= last_step) {
    throw core::WeightsError(str("no step of ", request.run_dir,
                                 " can be replayed: no whole checkpoint that its chain leads to has a step after it, "
                                 "and the chain has no step from the run's start on"));
  }
  VerifyPlan plan;
  plan.first = starts.front().step + 1;
  plan.last = last_step;
  plan.steps = choose_steps(plan, request);
  for (const int64_t step : plan.steps) {
    const auto after = std::find_if(starts.begin(), starts.end(), [&](const Start& s) { return s.step >= step; });
    const Start& from = *std::prev(after);
    if (plan.stretches.empty() || plan.stretches.back().from.step != from.step) plan.stretches.push_back({from, step});
    plan.stretches.back().to = step;
  }
  return plan;
}

std::optional<Difference> compare_records(const ChainRecord& chain, const ChainRecord& replayed) {
  using Kind = Difference::Kind;
  core::check(chain.step == replayed.step && chain.shards.size() == replayed.shards.size(),
              str("step ", replayed.step, " was compared with another one"));
  Difference found{chain.step, Kind::kShards, {}, ""};
  for (size_t i = 0; i < chain.shards.size(); ++i) {
    if (chain.shards[i] != replayed.shards[i]) found.shards.push_back(static_cast<int64_t>(i));
  }
  if (!found.shards.empty()) {
    if (found.shards.size() == chain.shards.size() && found.shards.size() > 1) found.kind = Kind::kAllShards;
  } else if (std::bit_cast<uint64_t>(chain.loss) != std::bit_cast<uint64_t>(replayed.loss) &&
             !(std::isnan(chain.loss) && !std::isfinite(replayed.loss))) {
    found.kind = Kind::kLoss;
  } else if (chain.sum != replayed.sum) {
    found.kind = Kind::kSum;
  } else if (chain.state != replayed.state) {
    found.kind = Kind::kUpdate;
  } else {
    return std::nullopt;
  }
  return found;
}

const char* name_of(Difference::Kind kind) {
  switch (kind) {
    case Difference::Kind::kStart:
      return "start";
    case Difference::Kind::kShards:
      return "shards";
    case Difference::Kind::kAllShards:
      return "all_shards";
    case Difference::Kind::kLoss:
      return "loss";
    case Difference::Kind::kSum:
      return "sum";
    case Difference::Kind::kUpdate:
      return "update";
    case Difference::Kind::kCheckpoint:
      break;
  }
  return "checkpoint";
}

std::string text_of(const Difference& d) {
  const std::string step = str("step ", d.step, ": ");
  switch (d.kind) {
    case Difference::Kind::kStart:
      return str("the state after step ", d.step, " that the replay starts from is not the chain's");
    case Difference::Kind::kShards:
      return str(step, "the gradients of virtual shard", d.shards.size() > 1 ? "s " : " ", listed(d.shards),
                 " are not equal; the other shards' are");
    case Difference::Kind::kAllShards:
      return str(step, "the gradients of all ", d.shards.size(),
                 " virtual shards differ: what the step began with was another (parameters that changed between two "
                 "steps, other data, other frozen weights)");
    case Difference::Kind::kLoss:
      return str(step, "the gradients are equal, the loss is not");
    case Difference::Kind::kSum:
      return str(step, "the gradients of all virtual shards are equal, their sum is not: the reduction went wrong");
    case Difference::Kind::kUpdate:
      return str(step, "the summed gradients are equal, the parameters after the update are not");
    case Difference::Kind::kCheckpoint:
      break;
  }
  return str(step, "the parameters are equal, '", d.tensor, "' of its checkpoint is not");
}

}  // namespace snell::train
