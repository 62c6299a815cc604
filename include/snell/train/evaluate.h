// Exact evaluation, sharded over the ranks: every sample is judged once, by one rank, whatever their number.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "snell/data/config.h"
#include "snell/data/loader.h"
#include "snell/dist/control_plane.h"
#include "snell/nn/backbone.h"

namespace snell::train {

struct EvalResult {
  double loss = 0;          // mean cross-entropy
  double top1 = 0;          // percent
  double top5 = 0;          // percent
  int64_t num_samples = 0;  // over all ranks
  double seconds = 0;
};

// Goes through the loader's epoch 0. Collective. `progress(done, of)`, when given, is called after each batch.
EvalResult evaluate(const nn::Backbone& model, data::DataLoader& loader, dist::ControlPlane& control,
                    const nn::TensorPlace& place, const std::function<void(int64_t, int64_t)>& progress = {});

// A loader of `source` in its own order, for this rank of `control`.
std::unique_ptr<data::DataLoader> make_eval_loader(std::shared_ptr<const data::SampleSource> source,
                                                   const data::DataConfig& config, const dist::ControlPlane& control,
                                                   bool pin_memory);

}  // namespace snell::train
