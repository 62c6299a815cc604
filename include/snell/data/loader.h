// A rank's batches of an epoch, decoded and transformed ahead of their use by worker threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "snell/data/batch.h"
#include "snell/data/sample_source.h"
#include "snell/data/sampler.h"
#include "snell/data/transforms.h"

namespace snell::data {

struct LoaderOptions {
  uint64_t seed = 0;
  bool shuffle = true;     // false: samples in the order of the data set (evaluation)
  int64_t batch_size = 1;  // global, over all ranks
  int64_t num_shards = 1;  // virtual shards of a global batch: a multiple of num_ranks
  int64_t rank = 0;
  int64_t num_ranks = 1;
  int64_t workers = 0;      // threads; 0: next() does the work itself
  int64_t prefetch = 2;     // at most so many batches are in memory beside the one handed out (at least 1)
  bool drop_last = false;   // leave out a partial last batch
  bool pin_memory = false;  // images and labels in page-locked memory: only with a CUDA device
};

// Every bit of a batch is a function of (seed, epoch, step) and the plan: never of `workers`, `prefetch`, or where an
// epoch was entered. A shard without samples is a dummy: one zero image, label 0, slot 0, index -1. One thread calls
// it; the workers are its own and end with it, also in the middle of an epoch.
class DataLoader {
 public:
  // Throws ConfigError for options that do not fit together.
  DataLoader(std::shared_ptr<const SampleSource> source, std::shared_ptr<const Transform> transform,
             const LoaderOptions& options);
  ~DataLoader();
  DataLoader(const DataLoader&) = delete;
  DataLoader& operator=(const DataLoader&) = delete;

  // Steps of an epoch, the same on every rank.
  int64_t num_steps() const;
  const BatchPlan& plan() const;

  // Begins an epoch at a step; nothing is read for the steps before it. What was prefetched of another epoch is
  // dropped.
  void start_epoch(int64_t epoch, int64_t first_step = 0);

  // The next batch in order, or nothing at the end of the epoch. Waits for the workers. An error of reading or decoding
  // is thrown here, at the batch it belongs to (the first one in the batch's order), again at every call until
  // start_epoch().
  std::optional<Batch> next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace snell::data
