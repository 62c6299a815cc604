// What every communicator has in common: counters of payload bytes, and checks of the tensors it is given.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

namespace snell::dist {

enum class Collective { kAllReduce, kBroadcast, kAllGather, kReduceScatter, kAllToAll, kCount };

// "all_reduce", "broadcast", ...
const char* collective_name(Collective kind);
// Throws core::Error for an unknown name.
Collective collective_of(const std::string& name);

// Bytes that this rank handed in, by kind. Any thread.
class Traffic {
 public:
  void add(Collective kind, const at::Tensor& tensor) {
    bytes_[static_cast<size_t>(kind)] += static_cast<int64_t>(tensor.nbytes());
  }
  // Throws core::Error for an unknown name.
  int64_t bytes(const std::string& name) const;

 private:
  std::array<std::atomic<int64_t>, static_cast<size_t>(Collective::kCount)> bytes_{};
};

// Throw core::Error, naming the collective and what is wrong with the tensor.
void check_tensor(Collective kind, const at::Tensor& tensor, c10::Device device);
void check_root(Collective kind, int root, int size);
// `whole` holds `size` parts like `part`, in other memory, of the same type.
void check_parts(Collective kind, const at::Tensor& part, const at::Tensor& whole, int size, c10::Device device);
// `input` and `output` are alike, in different memory, and divide into `size` parts.
void check_exchange(Collective kind, const at::Tensor& input, const at::Tensor& output, int size, c10::Device device);

}  // namespace snell::dist
