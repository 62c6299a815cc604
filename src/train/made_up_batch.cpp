#include "made_up_batch.h"

#include "snell/core/error.h"
#include "snell/core/random.h"

namespace snell::train {

data::Batch made_up_batch(const JobConfig& config, int64_t num_classes, int64_t num_shards) {
  const int64_t B = config.data.batch_size, side = config.backbone.image_size;
  if (B < num_shards) {
    throw core::ConfigError(core::str("data.batch_size = ", B, " is too small for ", num_shards, " shards"));
  }
  const at::Tensor images_BCHW = at::empty({B, config.backbone.in_chans, side, side}, at::kFloat);
  float* pixels = images_BCHW.data_ptr<float>();
  core::RandomStream random({config.seed, core::Purpose::kTest, 0, 0, 0});
  for (int64_t i = 0; i < images_BCHW.numel(); ++i) pixels[i] = static_cast<float>(random.uniform(-2, 2));
  const at::Tensor labels_B = at::arange(B, at::kLong).remainder(num_classes);
  data::Batch batch;
  batch.global_count = B;
  for (int64_t id = 0; id < num_shards; ++id) {
    const int64_t first = id * B / num_shards, last = (id + 1) * B / num_shards;
    data::Shard shard;
    shard.id = id;
    shard.images_BCHW = images_BCHW.slice(0, first, last);
    shard.labels_B = labels_B.slice(0, first, last);
    for (int64_t i = first; i < last; ++i) {
      shard.slots.push_back(static_cast<uint32_t>(i));
      shard.indices.push_back(i);
    }
    batch.shards.push_back(std::move(shard));
  }
  return batch;
}

}  // namespace snell::train
