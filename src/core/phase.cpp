#include "snell/core/phase.h"

#include <chrono>

namespace snell::core {

static thread_local constinit PhaseRing* t_ring = nullptr;

static constexpr auto kRelaxed = std::memory_order_relaxed;

const char* phase_name(PhaseKind kind) {
  constexpr std::array<const char*, kNumPhaseKinds> kNames = {
      "between phases", "load data",       "load weights",        "load checkpoint", "wait for a batch",
      "forward",        "backward",        "wait for collective", "wait for device", "update",
      "evaluate",       "save checkpoint", "control message"};
  const auto i = static_cast<size_t>(kind);
  return i < kNames.size() ? kNames[i] : "unknown phase";
}

bool waits_for_others(PhaseKind kind) {
  return kind == PhaseKind::kCollective || kind == PhaseKind::kDevice || kind == PhaseKind::kAgree;
}

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

PhaseRing::PhaseRing() {
  since_ns_.store(now_ns(), kRelaxed);
}

PhaseRing::Attached::Attached(PhaseRing& ring) : before_(t_ring) {
  t_ring = &ring;
}
PhaseRing::Attached::~Attached() {
  t_ring = before_;
}
PhaseRing* PhaseRing::of_this_thread() {
  return t_ring;
}

// The only writer of these counters is this thread: no read-modify-write is needed.
static void add(std::atomic<int64_t>& to, int64_t value) {
  to.store(to.load(kRelaxed) + value, kRelaxed);
}

void PhaseRing::close_stretch(int64_t now) noexcept {
  const auto kind = static_cast<size_t>(kind_.load(kRelaxed));
  const int64_t lasted = now - since_ns_.load(kRelaxed);
  const int64_t slowest = slowest_ns_[kind].load(kRelaxed);
  slowest_ns_[kind].store(lasted > slowest ? lasted : slowest + (lasted - slowest) / 64, kRelaxed);
  add(totals_ns_[kind], lasted);
  counts_[kind].store(counts_[kind].load(kRelaxed) + 1, kRelaxed);
}

void PhaseRing::enter(PhaseKind kind, int64_t now, bool begins) noexcept {
  const uint64_t version = version_.load(kRelaxed);
  version_.store(version + 1, kRelaxed);
  std::atomic_thread_fence(std::memory_order_release);
  kind_.store(static_cast<uint8_t>(kind), kRelaxed);
  since_ns_.store(now, kRelaxed);
  if (begins && waits_for_others(kind)) waits_.store(waits_.load(kRelaxed) + 1, kRelaxed);
  version_.store(version + 2, std::memory_order_release);
}

void PhaseRing::write_slot(const Open& open, int depth, int64_t end_ns) noexcept {
  Slot& slot = slots_[open.number % kLength];
  slot.number.store(0, kRelaxed);
  std::atomic_thread_fence(std::memory_order_release);
  slot.what.store(static_cast<uint64_t>(open.kind) | static_cast<uint64_t>(depth) << 8, kRelaxed);
  slot.step.store(step_.load(kRelaxed), kRelaxed);
  slot.start_ns.store(open.start_ns, kRelaxed);
  slot.end_ns.store(end_ns, kRelaxed);
  slot.number.store(open.number, std::memory_order_release);
}

void PhaseRing::begin(PhaseKind kind) noexcept {
  const int64_t now = now_ns();
  close_stretch(now);
  const int depth = depth_++;
  if (depth < kMaxDepth) {
    Open& open = open_[static_cast<size_t>(depth)];
    open = {kind, next_number_++, now};
    write_slot(open, depth, 0);
  }
  enter(kind, now, true);
}

void PhaseRing::end() noexcept {
  const int64_t now = now_ns();
  close_stretch(now);
  const int depth = --depth_;
  if (depth < kMaxDepth) {
    Open& open = open_[static_cast<size_t>(depth)];
    // More than kLength phases began within this one and took its slot: it is written again, as the newest.
    if (slots_[open.number % kLength].number.load(kRelaxed) != open.number) open.number = next_number_++;
    write_slot(open, depth, now);
  }
  const int outer = depth - 1 < kMaxDepth ? depth - 1 : kMaxDepth - 1;
  enter(outer < 0 ? PhaseKind::kOther : open_[static_cast<size_t>(outer)].kind, now, false);
}

void PhaseRing::set_step(int64_t step) noexcept {
  step_.store(step, kRelaxed);
}

PhaseState PhaseRing::state() const noexcept {
  PhaseState out;
  // The writer is between its two marks for some nanoseconds only, unless its process was stopped right there.
  for (int look = 0; look < 1000; ++look) {
    const uint64_t before = version_.load(std::memory_order_acquire);
    out = {static_cast<PhaseKind>(kind_.load(kRelaxed)), step_.load(kRelaxed), since_ns_.load(kRelaxed),
           waits_.load(kRelaxed)};
    std::atomic_thread_fence(std::memory_order_acquire);
    if (before % 2 == 0 && version_.load(kRelaxed) == before) break;
  }
  return out;
}

size_t PhaseRing::last(std::array<PhaseRecord, kLength>& out) const noexcept {
  uint64_t newest = 0;
  for (const Slot& slot : slots_) {
    const uint64_t number = slot.number.load(kRelaxed);
    if (number > newest) newest = number;
  }
  size_t count = 0;
  for (uint64_t number = newest < kLength ? 1 : newest - kLength + 1; number <= newest && newest > 0; ++number) {
    const Slot& slot = slots_[number % kLength];
    if (slot.number.load(std::memory_order_acquire) != number) continue;
    const uint64_t what = slot.what.load(kRelaxed);
    const PhaseRecord record{static_cast<PhaseKind>(what & 0xff), static_cast<int>(what >> 8), slot.step.load(kRelaxed),
                             slot.start_ns.load(kRelaxed), slot.end_ns.load(kRelaxed)};
    std::atomic_thread_fence(std::memory_order_acquire);
    if (slot.number.load(kRelaxed) == number) out[count++] = record;
  }
  return count;
}

int64_t PhaseRing::slowest_ns(PhaseKind kind) const noexcept {
  return slowest_ns_[static_cast<size_t>(kind)].load(kRelaxed);
}

uint64_t PhaseRing::count(PhaseKind kind) const noexcept {
  return counts_[static_cast<size_t>(kind)].load(kRelaxed);
}

std::array<int64_t, kNumPhaseKinds> PhaseRing::totals_ns() const noexcept {
  std::array<int64_t, kNumPhaseKinds> out{};
  for (size_t i = 0; i < kNumPhaseKinds; ++i) out[i] = totals_ns_[i].load(kRelaxed);
  return out;
}

}  // namespace snell::core
