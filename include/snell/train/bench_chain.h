// What a chain (chain.h) adds to a reproducible step: to measure it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "snell/train/job_config.h"

namespace snell::train {

// Seconds of two steps, one without and one with the chain, and of the chain's own parts in the second.
struct ChainRound {
  double without = 0, with = 0;
  double shards = 0;  // hashing the gradients of all shards
  double sum = 0;     // hashing their sum
  double record = 0;  // hashing the state, and writing the record
  double chain() const { return shards + sum + record; }
};

// One process with all virtual shards of `config` (dist.virtual_shards), made-up images and a chain in `folder`. Sets
// LibTorch's threads as a reproducible run does.
class ChainBench {
 public:
  ChainBench(const JobConfig& config, int64_t num_classes, const std::string& folder);
  ~ChainBench();

  int64_t gradient_bytes() const;
  // The two steps' order changes from round to round.
  ChainRound run();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace snell::train
