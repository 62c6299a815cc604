// The most memory that something takes on top of what was there before it.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <optional>

namespace snell::train {

// On the CPU the process's resident memory (VmRSS and VmHWM of /proc/self/status); on a GPU what LibTorch's allocator
// handed out there. One at a time: the kernel keeps one peak a process.
class PeakMemory {
 public:
  // Gives unused memory back to the system, takes down what is in use, and lets the peak begin anew.
  explicit PeakMemory(c10::Device device);
  // Bytes in use when this was made; absent where the system does not tell.
  std::optional<int64_t> before() const { return before_; }
  // The peak since then, above before(); absent where the system does not tell or the peak cannot begin anew.
  std::optional<int64_t> above() const;

 private:
  c10::Device device_;
  std::optional<int64_t> before_;
  bool fresh_ = false;  // the peak began anew
};

}  // namespace snell::train
