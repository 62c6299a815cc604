#include "snell/core/hash.h"

#include <xxhash.h>

#include <cstdio>
#include <new>

namespace snell::core {

std::string Hash128::hex() const {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(high),
                static_cast<unsigned long long>(low));
  return text;
}

Hash128 hash128(std::span<const std::byte> bytes) {
  const XXH128_hash_t h = XXH3_128bits(bytes.data(), bytes.size());
  return {h.low64, h.high64};
}

struct Hasher::State {
  XXH3_state_t* raw = XXH3_createState();
  ~State() { XXH3_freeState(raw); }
};

Hasher::Hasher() : state_(std::make_unique<State>()) {
  if (state_->raw == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(state_->raw);
}
Hasher::~Hasher() = default;
void Hasher::add(const void* data, size_t size) {
  XXH3_128bits_update(state_->raw, data, size);
}
Hash128 Hasher::finish() const {
  const XXH128_hash_t h = XXH3_128bits_digest(state_->raw);
  return {h.low64, h.high64};
}

}  // namespace snell::core
