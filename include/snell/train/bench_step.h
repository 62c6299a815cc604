// The trainer's own step without a data set: to measure it.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "snell/train/job_config.h"
#include "snell/train/step.h"

namespace snell::train {

struct BenchFacts {
  std::string device;
  int64_t threads = 0;                 // LibTorch's
  int64_t trainable_elements = 0;      // of the model
  int64_t parameters = 0;              // frozen and trainable
  std::optional<int64_t> model_bytes;  // resident once the model is made, before gradients and optimizer's state
};

// One process, `config`'s model (weights generated from the seed, or read), and one batch of data.batch_size made-up
// images, used again in every step. Sets LibTorch's threads. Nothing of `config.data` but the batch size is looked at.
class BenchStep {
 public:
  // Throws as making the model does.
  BenchStep(const JobConfig& config, int64_t num_classes);
  ~BenchStep();

  const BenchFacts& facts() const;
  // One train_step(); StepStats::seconds reaches to the end of the device's work.
  StepStats run();
  // The most memory since the model was made, above model_bytes: gradients, the optimizer's state, activations, and
  // whatever a step needs for moments.
  std::optional<int64_t> peak_above_model() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Returns once the device has done what was given to it so far.
void wait_for(c10::Device device);

}  // namespace snell::train
