#include "snell/train/meta_memory.h"

#include <c10/core/Allocator.h>
#include <malloc.h>

#include <cstdlib>
#include <mutex>
#include <numeric>

#include "meta_kernels.h"
#include "snell/core/error.h"

namespace snell::train {
namespace {

constexpr size_t kAlignment = 64;          // of LibTorch's CPU allocator
constexpr size_t kSmallBlock = 16 * 1024;  // below it the system is not asked anew what it gave: that would cost time

// Bytes that the C library's allocator holds of the system.
int64_t held_of_system() {
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
  const struct mallinfo2 info = ::mallinfo2();
  return static_cast<int64_t>(info.arena + info.hblkhd);
#else
  return 0;
#endif
}

// Outlives its MetaMemory as long as a tensor does.
struct Tally {
  std::mutex mutex;
  MemoryUse use = MemoryUse::kOther;
  MemoryCount live, peak;
  bool with_slack = true;
  int64_t held_before = 0;

  void add(size_t bytes) {
    const std::lock_guard lock(mutex);
    live.bytes[static_cast<size_t>(use)] += static_cast<int64_t>(bytes);
    if (with_slack && bytes >= kSmallBlock) {
      live.slack = std::max<int64_t>(0, held_of_system() - held_before - live.tensors());
    }
    const int64_t now = live.total(), before = peak.total();
    if (now > before || (now == before && live.slack < peak.slack)) peak = live;
  }
  void remove(size_t bytes, MemoryUse was) {
    const std::lock_guard lock(mutex);
    live.bytes[static_cast<size_t>(was)] -= static_cast<int64_t>(bytes);
    // What is freed is not given back at once; the next allocation sees what was.
    if (with_slack) live.slack += static_cast<int64_t>(bytes);
  }
};

struct Block {
  std::shared_ptr<Tally> tally;
  void* memory;
  size_t bytes;
  MemoryUse use;
};

void release(void* context) {
  const std::unique_ptr<Block> block(static_cast<Block*>(context));
  std::free(block->memory);
  block->tally->remove(block->bytes, block->use);
}

}  // namespace

int64_t MemoryCount::tensors() const {
  return std::accumulate(bytes.begin(), bytes.end(), int64_t{0});
}
int64_t MemoryCount::total() const {
  return tensors() + slack;
}

class MetaMemory::Counter : public c10::Allocator {
 public:
  explicit Counter(bool with_slack) : tally_(std::make_shared<Tally>()), before_(c10::GetAllocator(c10::kMeta)) {
    tally_->with_slack = with_slack;
    ::malloc_trim(0);
    tally_->held_before = held_of_system();
    c10::SetAllocator(c10::kMeta, this, kPriority);
  }
  ~Counter() override { c10::SetAllocator(c10::kMeta, before_, kPriority); }

  c10::DataPtr allocate(size_t bytes) override {
    void* memory = nullptr;
    // A machine that has not so much address space left counts without the slack.
    if (bytes > 0 && tally_->with_slack && ::posix_memalign(&memory, kAlignment, bytes) != 0) memory = nullptr;
    auto block = std::make_unique<Block>(Block{tally_, memory, bytes, tally_->use});
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

MetaMemory::MetaMemory(bool with_slack) : counter_(std::make_unique<Counter>(with_slack)) {}
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
