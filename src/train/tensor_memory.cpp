#include "snell/train/tensor_memory.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <c10/util/Exception.h>
#include <sys/mman.h>

#include <algorithm>
#include <list>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace snell::train {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kSmallest = 128 * 1024;  // smaller blocks are the C library's

class KeepingAllocator : public c10::Allocator {
 public:
  // Never destroyed: tensors may outlive static objects.
  static KeepingAllocator& instance() {
    static auto* allocator = new KeepingAllocator;
    return *allocator;
  }

  c10::DataPtr allocate(size_t size) override {
    if (size < kSmallest) return default_->allocate(size);
    void* block = take((size + kPage - 1) / kPage * kPage);
    return {block, block, &give, c10::Device(c10::DeviceType::CPU)};
  }

  // Of small blocks too: their context is the block as well.
  c10::DeleterFnPtr raw_deleter() const override { return &give; }

  void copy_data(void* to, const void* from, size_t size) const override { default_copy_data(to, from, size); }

  void give_back() {
    const std::lock_guard lock(mutex_);
    while (!idle_.empty()) unmap_oldest();
    memory_.most_in_use = memory_.in_use;
  }

  TensorMemory memory() {
    const std::lock_guard lock(mutex_);
    return memory_;
  }

 private:
  struct Block {
    void* data;
    size_t size;
  };
  using Idle = std::list<Block>;  // the one that lay longest first

  static void give(void* block) { instance().keep(block); }

  void* take(size_t size) {
    const std::lock_guard lock(mutex_);
    void* block = reuse(size);
    if (block == nullptr) block = map(size);
    sizes_.emplace(block, size);
    memory_.in_use += static_cast<int64_t>(size);
    memory_.most_in_use = std::max(memory_.most_in_use, memory_.in_use);
    return block;
  }

  void keep(void* block) {
    const std::lock_guard lock(mutex_);
    const auto found = sizes_.find(block);
    if (found == sizes_.end()) return c10::free_cpu(block);
    const size_t size = found->second;
    sizes_.erase(found);
    memory_.in_use -= static_cast<int64_t>(size);
    memory_.idle += static_cast<int64_t>(size);
    by_size_[size].push_back(idle_.insert(idle_.end(), {block, size}));
  }

  // The one that was freed last: most of it may be in a cache of the processor.
  void* reuse(size_t size) {
    const auto found = by_size_.find(size);
    if (found == by_size_.end()) return nullptr;
    const auto last = found->second.back();
    found->second.pop_back();
    if (found->second.empty()) by_size_.erase(found);
    void* block = last->data;
    idle_.erase(last);
    memory_.idle -= static_cast<int64_t>(size);
    return block;
  }

  void* map(size_t size) {
    const int64_t wanted = memory_.in_use + static_cast<int64_t>(size);
    const int64_t limit = std::max(memory_.most_in_use, wanted);
    while (!idle_.empty() && wanted + memory_.idle > limit) unmap_oldest();
    const auto attempt = [size] {
      return ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    };
    void* block = attempt();
    if (block == MAP_FAILED) {
      while (!idle_.empty()) unmap_oldest();
      block = attempt();
    }
    TORCH_CHECK(block != MAP_FAILED, "not enough memory: the system gave no ", size, " bytes for a tensor, with ",
                memory_.in_use, " bytes in use by tensors");
    return block;
  }

  void unmap_oldest() {
    const Block block = idle_.front();
    auto& same_size = by_size_.at(block.size);
    same_size.erase(std::find(same_size.begin(), same_size.end(), idle_.begin()));
    if (same_size.empty()) by_size_.erase(block.size);
    idle_.pop_front();
    memory_.idle -= static_cast<int64_t>(block.size);
    ::munmap(block.data, block.size);
  }

  c10::Allocator* const default_ = c10::GetDefaultCPUAllocator();
  std::mutex mutex_;
  std::unordered_map<void*, size_t> sizes_;  // of blocks in use
  Idle idle_;
  std::unordered_map<size_t, std::vector<Idle::iterator>> by_size_;  // idle blocks, the one freed last at the end
  TensorMemory memory_;
};

}  // namespace

void keep_freed_tensors() {
  constexpr uint8_t kAboveLibTorchs = 1;
  c10::SetCPUAllocator(&KeepingAllocator::instance(), kAboveLibTorchs);
}

void give_back_freed_tensors() {
  KeepingAllocator::instance().give_back();
}

TensorMemory tensor_memory() {
  return KeepingAllocator::instance().memory();
}

}  // namespace snell::train
