// What a weight file of `size` bytes may cost: 4 × its size + 64 MB of memory, counted exactly by the sanitizer's
// hooks, and no exception but WeightsError.
#pragma once

#include <sanitizer/allocator_interface.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "snell/core/error.h"
#include "src/io/formats.h"

namespace snell::fuzz {

inline std::atomic<int64_t> live_bytes{0}, allowed_bytes{INT64_MAX};

inline void on_malloc(const volatile void*, size_t size) {
  const int64_t now = live_bytes += static_cast<int64_t>(size);
  if (now <= allowed_bytes) return;
  allowed_bytes = INT64_MAX;
  std::fprintf(stderr, "==ERROR: %lld bytes of memory in use, more than 4 x the file + 64 MB\n",
               static_cast<long long>(now));
  std::abort();
}

inline void on_free(const volatile void* pointer) {
  if (pointer == nullptr) return;
  live_bytes -= static_cast<int64_t>(__sanitizer_get_allocated_size(const_cast<const void*>(pointer)));
}

// Opens the file by `open` (FileBytes → TensorSource) and reads everything in it.
template <class Open>
int read_everything(const uint8_t* data, size_t size, const Open& open) {
  static const int hooks = __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
  if (hooks == 0) std::abort();
  live_bytes = 0;
  allowed_bytes = static_cast<int64_t>(4 * size + (64u << 20));
  try {
    const auto* bytes = reinterpret_cast<const std::byte*>(data);
    // A copy, so that a byte read beyond the end is found.
    const std::unique_ptr<io::TensorSource> source = open(io::FileBytes::of("fuzzed", {bytes, bytes + size}));
    uint64_t sum = 0, total = 0;
    for (const std::string& name : source->names()) {
      const io::HostTensor described = source->describe(name), tensor = source->read(name);
      if (described.shape != tensor.shape || described.dtype != tensor.dtype) std::abort();
      if (io::byte_count(tensor.dtype, tensor.shape) != static_cast<int64_t>(tensor.bytes.size())) std::abort();
      // Many tensors may view the same storage, or repeat one element: enough of them is enough.
      if ((total += tensor.bytes.size()) > (64u << 20)) break;
      for (const std::byte byte : tensor.bytes) sum += std::to_integer<uint64_t>(byte);
    }
    source->verify();
    volatile uint64_t sink = sum;
    (void)sink;
  } catch (const core::WeightsError&) {
  }
  allowed_bytes = INT64_MAX;
  return 0;
}

}  // namespace snell::fuzz
