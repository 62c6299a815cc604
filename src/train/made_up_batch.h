// A batch without a data set, for benchmarks.
#pragma once

#include "snell/data/batch.h"
#include "snell/train/job_config.h"

namespace snell::train {

// data.batch_size noisy images as one rank's `num_shards` shards of about equal size; each class in turn.
data::Batch made_up_batch(const JobConfig& config, int64_t num_classes, int64_t num_shards);

}  // namespace snell::train
