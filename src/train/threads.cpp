#include "snell/train/threads.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

namespace snell::train {

void set_threads(const RunConfig& config, int ranks_of_node) {
  if (config.threads > 0) {
    at::set_num_threads(static_cast<int>(config.threads));
  } else if (std::getenv("OMP_NUM_THREADS") == nullptr) {
    const int cores = static_cast<int>(std::thread::hardware_concurrency());
    at::set_num_threads(std::max(1, cores / ranks_of_node));
  }
}

}  // namespace snell::train
