// XXH3-128 checksums: every file of ours that is read back carries one (a flipped bit in a weight file loads silently).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace snell::core {

struct Hash128 {
  uint64_t low = 0;
  uint64_t high = 0;
  bool operator==(const Hash128&) const = default;
  // 32 lower-case hexadecimal digits, high word first.
  std::string hex() const;
};

Hash128 hash128(std::span<const std::byte> bytes);
inline Hash128 hash128(const void* data, size_t size) {
  return hash128(std::span(static_cast<const std::byte*>(data), size));
}

// The same hash over bytes that arrive in parts.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  void add(const void* data, size_t size);
  Hash128 finish() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace snell::core
