// What a thread is doing, written down as it happens: for the watchdog (did this phase hang?) and for stragglers (whose
// data came late?). Marking a phase costs two looks at the clock and a dozen plain stores: no lock, no memory, no log.
//
//   const core::Phase phase(core::PhaseKind::kBackward);   // until the end of the block
//
// Phases nest; a thread is always in the innermost one, so that time within a nested phase counts for that one alone.
// A thread that no ring was attached to (PhaseRing::Attached) marks nothing.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace snell::core {

enum class PhaseKind : uint8_t {
  kOther,  // between phases
  kLoadData,
  kLoadWeights,
  kLoadCheckpoint,
  kBatch,  // waiting for a batch of pictures
  kForward,
  kBackward,
  kCollective,  // waiting for the tensors of other ranks
  kDevice,      // the host waits for the GPU, which may itself wait for other ranks
  kUpdate,
  kEvaluate,
  kSave,
  kAgree,  // a control message or a barrier
};
constexpr size_t kNumPhaseKinds = 13;

const char* phase_name(PhaseKind kind);
// Whether the phase ends only when other ranks come: whoever is in it is not the one that hangs.
bool waits_for_others(PhaseKind kind);

// Nanoseconds of the steady clock.
int64_t now_ns();

struct PhaseRecord {
  PhaseKind kind = PhaseKind::kOther;
  int depth = 0;  // of nesting
  int64_t step = 0;
  int64_t start_ns = 0;
  int64_t end_ns = 0;  // 0: under way
};

// Where a thread is.
struct PhaseState {
  PhaseKind kind = PhaseKind::kOther;
  int64_t step = 0;
  int64_t since_ns = 0;  // the last time that a phase began or ended
  uint64_t waits = 0;    // phases so far that wait for others: equal on all ranks at the same place of the program
};

// The phases of one thread. That thread writes; any thread, and a signal handler, may read at any time.
class PhaseRing {
 public:
  static constexpr size_t kLength = 64;

  PhaseRing();
  PhaseRing(const PhaseRing&) = delete;
  PhaseRing& operator=(const PhaseRing&) = delete;

  // The calling thread marks its phases in `ring` as long as this lives.
  class Attached {
   public:
    explicit Attached(PhaseRing& ring);
    ~Attached();
    Attached(const Attached&) = delete;
    Attached& operator=(const Attached&) = delete;

   private:
    PhaseRing* before_;
  };
  static PhaseRing* of_this_thread();

  // Of the marking thread.
  void begin(PhaseKind kind) noexcept;
  void end() noexcept;
  void set_step(int64_t step) noexcept;

  // Of any thread.
  PhaseState state() const noexcept;
  // The last phases, oldest first, at most kLength; returns how many. One that is being written is left out.
  size_t last(std::array<PhaseRecord, kLength>& out) const noexcept;
  // The slowest stretch of a kind so far, forgotten slowly (1/64 of the difference a stretch), and how many there were.
  // A stretch is the time in which nothing began or ended.
  int64_t slowest_ns(PhaseKind kind) const noexcept;
  uint64_t count(PhaseKind kind) const noexcept;
  // Time spent in each kind so far, by PhaseKind's number.
  std::array<int64_t, kNumPhaseKinds> totals_ns() const noexcept;

 private:
  static constexpr int kMaxDepth = 16;
  struct Slot {
    std::atomic<uint64_t> number{0};  // 0: being written; else the phase's, counted from 1
    std::atomic<uint64_t> what{0};    // kind, depth
    std::atomic<int64_t> step{0}, start_ns{0}, end_ns{0};
  };
  struct Open {
    PhaseKind kind = PhaseKind::kOther;
    uint64_t number = 0;
    int64_t start_ns = 0;
  };

  void close_stretch(int64_t now) noexcept;
  void enter(PhaseKind kind, int64_t now, bool begins) noexcept;
  void write_slot(const Open& open, int depth, int64_t end_ns) noexcept;

  // Of the marking thread alone.
  std::array<Open, kMaxDepth> open_;
  int depth_ = 0;
  uint64_t next_number_ = 1;

  // Written by the marking thread, read by all. `version_` is odd while a state is being written.
  std::atomic<uint64_t> version_{0};
  std::atomic<uint8_t> kind_{0};
  std::atomic<int64_t> step_{0}, since_ns_{0};
  std::atomic<uint64_t> waits_{0};
  std::array<Slot, kLength> slots_;
  std::array<std::atomic<int64_t>, kNumPhaseKinds> slowest_ns_{}, totals_ns_{};
  std::array<std::atomic<uint64_t>, kNumPhaseKinds> counts_{};
};

class Phase {
 public:
  explicit Phase(PhaseKind kind) noexcept : ring_(PhaseRing::of_this_thread()) {
    if (ring_ != nullptr) ring_->begin(kind);
  }
  ~Phase() {
    if (ring_ != nullptr) ring_->end();
  }
  Phase(const Phase&) = delete;
  Phase& operator=(const Phase&) = delete;

 private:
  PhaseRing* ring_;
};

}  // namespace snell::core
