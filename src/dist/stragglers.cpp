#include "snell/dist/stragglers.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "snell/core/error.h"
#include "snell/core/text.h"

namespace snell::dist {
namespace {

using core::PhaseKind;

constexpr std::array kSections = {PhaseKind::kBatch,  PhaseKind::kForward,  PhaseKind::kBackward,
                                  PhaseKind::kUpdate, PhaseKind::kEvaluate, PhaseKind::kOther};
constexpr int64_t kFeltShare = 20;  // of the window

constexpr double kNs = 1e9;

}  // namespace

std::string describe(const Straggler& s) {
  std::array<char, 160> text{};
  std::snprintf(text.data(), text.size(),
                "'%s' took %.1f x the median over the last %lld steps (%.2f s, median %.2f s)",
                core::phase_name(s.section), s.seconds / std::max(s.median_seconds, 1e-9),
                static_cast<long long>(s.steps), s.seconds, s.median_seconds);
  return core::str("rank ", s.rank, " on ", s.host, ": ", text.data());
}

std::vector<Straggler> find_stragglers(std::span<const SectionTimes> ranks, double factor, int64_t window_ns) {
  std::vector<Straggler> out;
  if (ranks.size() < 2) return out;
  for (const PhaseKind section : kSections) {
    const auto i = static_cast<size_t>(section);
    std::vector<int64_t> sorted;
    for (const SectionTimes& times : ranks) sorted.push_back(times[i]);
    const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>((sorted.size() - 1) / 2);
    std::nth_element(sorted.begin(), middle, sorted.end());
    const int64_t median = *middle;
    for (size_t rank = 0; rank < ranks.size(); ++rank) {
      const int64_t time = ranks[rank][i];
      if (static_cast<double>(time) < factor * static_cast<double>(median)) continue;
      if (time - median < window_ns / kFeltShare || time == median) continue;
      out.push_back(
          {static_cast<int>(rank), "", section, static_cast<double>(time) / kNs, static_cast<double>(median) / kNs, 0});
    }
  }
  std::stable_sort(out.begin(), out.end(), [](const Straggler& a, const Straggler& b) {
    return a.seconds - a.median_seconds > b.seconds - b.median_seconds;
  });
  return out;
}

StragglerWatch::StragglerWatch(const WatchdogConfig& config, ControlPlane& control)
    : control_(control), every_(config.straggler_every), factor_(config.straggler_factor) {
  if (control.size() == 1 || core::PhaseRing::of_this_thread() == nullptr) every_ = 0;
  if (every_ == 0) return;
  hosts_ = control.all_gather_strings(ControlPlane::hostname());
  before_ = core::PhaseRing::of_this_thread()->totals_ns();
  window_start_ns_ = core::now_ns();
}

std::vector<Straggler> StragglerWatch::after_step() {
  if (every_ == 0 || ++steps_ < every_) return {};
  const SectionTimes now = core::PhaseRing::of_this_thread()->totals_ns();
  SectionTimes spent;
  for (size_t i = 0; i < spent.size(); ++i) spent[i] = now[i] - before_[i];
  const auto all = control_.all_gather_strings(std::string(reinterpret_cast<const char*>(spent.data()), sizeof spent));
  std::vector<SectionTimes> times(all.size());
  for (size_t rank = 0; rank < all.size(); ++rank) {
    core::check(all[rank].size() == sizeof spent, "section times of another length");
    std::memcpy(times[rank].data(), all[rank].data(), sizeof spent);
  }
  // The same window on every rank: rank 0's would differ from rank 1's in its last digits.
  const int64_t window = control_.max(core::now_ns() - window_start_ns_);
  std::vector<Straggler> found = find_stragglers(times, factor_, window);
  for (Straggler& s : found) {
    s.host = hosts_[static_cast<size_t>(s.rank)];
    s.steps = steps_;
  }
  before_ = now;
  window_start_ns_ = core::now_ns();
  steps_ = 0;
  return found;
}

}  // namespace snell::dist
