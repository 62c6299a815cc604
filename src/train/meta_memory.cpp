#include "snell/train/meta_memory.h"

#include <c10/core/Allocator.h>

#include <mutex>
#include <numeric>

#include "meta_kernels.h"
#include "snell/core/error.h"

namespace snell::train {
namespace {

// Outlives its MetaMemory as long as a tensor does.
struct Tally {
  std::mutex mutex;
  MemoryUse use = MemoryUse::kOther;
  MemoryCount live, peak;

  void add(size_t bytes) {
    const std::lock_guard lock(mutex);
    live.bytes[static_cast<size_t>(use)] += static_cast<int64_t>(bytes);
    if (live.total() > peak.total()) peak = live;
  }
  void remove(size_t bytes, MemoryUse was) {
    const std::lock_guard lock(mutex);
    live.bytes[static_cast<size_t>(was)] -= static_cast<int64_t>(bytes);
  }
};

struct Block {
  std::shared_ptr<Tally> tally;
  size_t bytes;
  MemoryUse use;
};

void release(void* context) {
  const std::unique_ptr<Block> block(static_cast<Block*>(context));
  block->tally->remove(block->bytes, block->use);
}

}  // namespace

int64_t MemoryCount::total() const {
  return std::accumulate(bytes.begin(), bytes.end(), int64_t{0});
}

class MetaMemory::Counter : public c10::Allocator {
 public:
  Counter() : tally_(std::make_shared<Tally>()), before_(c10::GetAllocator(c10::kMeta)) {
    c10::SetAllocator(c10::kMeta, this, kPriority);
  }
  ~Counter() override { c10::SetAllocator(c10::kMeta, before_, kPriority); }

  c10::DataPtr allocate(size_t bytes) override {
    auto block = std::make_unique<Block>(Block{tally_, bytes, tally_->use});
    tally_->add(bytes);
    return {nullptr, block.release(), &release, c10::Device(c10::kMeta)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void*, const void*, size_t) const override {}

  Tally& tally() const { return *tally_; }

 private:
  static constexpr uint8_t kPriority = 100;  // above LibTorch's own
  MetaKernels kernels_;
  std::shared_ptr<Tally> tally_;
  c10::Allocator* before_;
};

MetaMemory::MetaMemory() : counter_(std::make_unique<Counter>()) {}
MetaMemory::~MetaMemory() = default;

void MetaMemory::set_use(MemoryUse use) {
  counter_->tally().use = use;
}
MemoryCount MetaMemory::live() const {
  return counter_->tally().live;
}
const MemoryCount& MetaMemory::peak() const {
  return counter_->tally().peak;
}
void MetaMemory::begin_phase() {
  counter_->tally().peak = counter_->tally().live;
}

}  // namespace snell::train
