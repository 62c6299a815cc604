// A frozen weight matrix, read through a handle, so that plain, quantised, sharded or offloaded storage are
// implementations of one small interface and no layer changes.
#pragma once

#include <cstdint>

namespace at {
class Tensor;
}

namespace snell::core {

class FrozenWeight {
 public:
  virtual ~FrozenWeight() = default;

  virtual int64_t out_features() const = 0;
  virtual int64_t in_features() const = 0;
  // Bytes that this rank keeps resident for it.
  virtual int64_t resident_bytes() const = 0;

  // The whole matrix [out, in] in the compute type, valid until `release`. Forward and backward each acquire it for
  // themselves and keep no copy. Must be called on the stream that will use it.
  virtual at::Tensor acquire() const = 0;
  // The caller is done with the last acquired matrix (a sharded weight frees it here).
  virtual void release() const = 0;
};

}  // namespace snell::core
