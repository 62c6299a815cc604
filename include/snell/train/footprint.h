// What a config's model consists of, without making it: parameters and bytes by layer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "snell/train/job_config.h"

namespace snell::train {

struct LayerFootprint {
  std::string name;          // "blocks.0.attn.proj"; an adapter counts with its projection
  int64_t frozen = 0;        // parameters
  int64_t trainable = 0;     // parameters
  int64_t adapter = 0;       // of the trainable ones
  int64_t weight_bytes = 0;  // frozen and trainable
  int64_t gradient_bytes = 0;
  int64_t state_bytes = 0;  // optimizer, moving average of the weights, allocator
  LayerFootprint& operator+=(const LayerFootprint& other);
};

// In the model's order. Allocates no tensor. Throws ConfigError as making the model does.
std::vector<LayerFootprint> footprint(const JobConfig& config, int64_t num_classes);

}  // namespace snell::train
