// The section `data` of the config.
#pragma once

#include <cstdint>
#include <string>

#include "snell/data/transforms.h"

namespace snell::data {

struct DataConfig {
  std::string name;
  std::string file;
  std::string train_split = "train";
  std::string eval_split = "test";
  int64_t batch_size = 32;
  int64_t eval_batch_size = 64;
  int64_t workers = 2;
  int64_t prefetch = 4;
  bool drop_last = false;
  TransformConfig transform;
};
void bind(config::Binder& binder, DataConfig& config);

}  // namespace snell::data
