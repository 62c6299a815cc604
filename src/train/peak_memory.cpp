#include "snell/train/peak_memory.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <malloc.h>
#include <torch/version.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "snell/train/tensor_memory.h"

namespace snell::train {
namespace {

struct InUse {
  std::optional<int64_t> now, peak;
};

InUse of_process() {
  std::ifstream status("/proc/self/status");
  InUse out;
  std::string key;
  while (status >> key) {
    int64_t kib = 0;
    if (key == "VmRSS:" && status >> kib) out.now = kib * 1024;
    if (key == "VmHWM:" && status >> kib) out.peak = kib * 1024;
    std::getline(status, key);
  }
  return out;
}

// proc(5), /proc/pid/clear_refs: 5 sets the peak to what is resident now.
bool restart_process_peak() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

// Older versions have no such interface that is not CUDA's own.
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 9)
InUse of_device(c10::Device device) {
  const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(std::max<int>(device.index(), 0));
  const auto& bytes = stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)];
  return {bytes.current, bytes.peak};
}
bool restart_device_peak(c10::Device device) {
  c10::getDeviceAllocator(device.type())->resetPeakStats(std::max<int>(device.index(), 0));
  return true;
}
#else
InUse of_device(c10::Device) {
  return {};
}
bool restart_device_peak(c10::Device) {
  return false;
}
#endif

}  // namespace

PeakMemory::PeakMemory(c10::Device device) : device_(device) {
  if (device.is_cpu()) {
    give_back_freed_tensors();
    ::malloc_trim(0);
    fresh_ = restart_process_peak();
    before_ = of_process().now;
  } else {
    fresh_ = restart_device_peak(device);
    before_ = of_device(device).now;
  }
}

std::optional<int64_t> PeakMemory::above() const {
  const auto peak = device_.is_cpu() ? of_process().peak : of_device(device_).peak;
  if (!fresh_ || !before_ || !peak) return std::nullopt;
  return std::max<int64_t>(*peak - *before_, 0);
}

}  // namespace snell::train
