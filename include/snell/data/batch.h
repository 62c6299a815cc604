// What the data module hands to a training step.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace snell::data {

// A part of a global batch that goes through the model at once. Legend: B samples of this shard, C H W an image.
struct Shard {
  int64_t id = 0;                // number of the shard in the global batch; the same whatever the number of ranks
  at::Tensor images_BCHW;        // float32 on the CPU, normalised
  at::Tensor labels_B;           // int64
  std::vector<uint32_t> slots;   // [B] the samples' slots in the epoch's order: keys of their random draws
  std::vector<int64_t> indices;  // [B] the samples' numbers in the data set
  bool dummy = false;            // this rank has no sample here: one blank image whose loss weighs zero
};

// One rank's part of a global batch. Shard boundaries depend on the global batch and the number of virtual shards only.
struct Batch {
  int64_t epoch = 0;
  int64_t step_in_epoch = 0;
  int64_t global_count = 0;  // true samples in the global batch, over all ranks: the loss divides by it
  std::vector<Shard> shards;
};

}  // namespace snell::data
