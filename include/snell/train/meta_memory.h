// Counts what tensors of the meta device would take, as if they were the CPU's: code that runs on meta tensors
// allocates as it always does and computes nothing, so its memory is known without the time.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

namespace snell::train {

// What memory is for: the part of the program that asked for it.
enum class MemoryUse { kWeights, kGradients, kOptimizer, kAverages, kImages, kForward, kBackward, kOther };
inline constexpr size_t kNumMemoryUses = 8;

struct MemoryCount {
  std::array<int64_t, kNumMemoryUses> bytes{};  // by MemoryUse
  int64_t of(MemoryUse use) const { return bytes[static_cast<size_t>(use)]; }
  int64_t total() const;
};

// While one lives, the meta device's tensors are counted. What is freed is not in use: tensor_memory.h sees to that in
// a real run. One at a time, on one thread.
class MetaMemory {
 public:
  MetaMemory();
  ~MetaMemory();
  MetaMemory(const MetaMemory&) = delete;
  MetaMemory& operator=(const MetaMemory&) = delete;

  // What is allocated from now on is for `use`.
  void set_use(MemoryUse use);
  MemoryCount live() const;
  // At the moment since the start, or the last begin_phase(), at which the total was largest.
  const MemoryCount& peak() const;
  void begin_phase();

 private:
  class Counter;
  std::unique_ptr<Counter> counter_;
};

}  // namespace snell::train
