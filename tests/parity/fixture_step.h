// The trainer's own step on one rank, with a fixture's optimizer settings and batches.
#pragma once

#include <string>
#include <vector>

#include "snell/dist/control_plane.h"
#include "snell/dist/reducer.h"
#include "snell/dist/self_communicator.h"
#include "snell/train/model.h"
#include "snell/train/step.h"
#include "support/fixtures.h"

namespace snell::train {

class FixtureStep {
 public:
  FixtureStep(const nn::Backbone& model, const test::Fixture& fixture, at::ScalarType dtype)
      : config_(config_of(fixture)),
        optimizer_(model.trainable(), config_),
        reducer_(trainable_tensors(model), communicator_, 1 << 20),
        parts_{model, optimizer_, reducer_, control_, config_, {dtype, at::kCPU}},
        images_(fixture.tensor("images", dtype)),
        labels_(fixture.tensor("labels")) {}

  // On one of the fixture's batches; its loss.
  double operator()(int64_t batch_index, int64_t step) const {
    data::Batch batch;
    batch.global_count = labels_.size(1);
    batch.shards.push_back({0, images_[batch_index], labels_[batch_index], {0}, {0}, false});
    return train_step(parts_, batch, /*seed=*/0, step).loss;
  }
  int64_t num_batches() const { return images_.size(0); }

 private:
  static OptimConfig config_of(const test::Fixture& fixture) {
    OptimConfig config;
    config.lr = fixture.setting("lr").get<double>();
    config.weight_decay = fixture.setting("weight_decay").get<double>();
    return config;
  }

  OptimConfig config_;
  Optimizer optimizer_;
  dist::SelfCommunicator communicator_;
  dist::SelfControlPlane control_;
  dist::BucketedReducer reducer_;
  StepParts parts_;
  at::Tensor images_, labels_;
};

}  // namespace snell::train
