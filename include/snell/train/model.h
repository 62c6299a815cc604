// From a config to a model that is ready: backbone with adapters, published weights loaded, the tensors a checkpoint
// keeps.
#pragma once

#include <memory>
#include <vector>

#include "snell/ckpt/checkpoint.h"
#include "snell/dist/reducer.h"
#include "snell/peft/tuning.h"
#include "snell/train/job_config.h"

namespace snell::train {

// Builds, initialises, and loads `config.backbone.weights` when it names a file (logged). Throws WeightsError.
peft::TunedModel make_model(const JobConfig& config, int64_t num_classes, const nn::TensorPlace& place);

// "param/<name>" of every trainable, and "thresholds/<layer>" with the sparsity of every ΔW.
std::vector<ckpt::TensorRef> model_state(const peft::TunedModel& model);

// Gives the model's adapters the sparsities that `state`, a model_state() filled by loading, holds. Throws WeightsError
// for one that is no share.
void restore_sparsities(const peft::TunedModel& model, const std::vector<ckpt::TensorRef>& state);

// The trainables as the reducer and the replica check take them.
std::vector<dist::NamedTensor> trainable_tensors(const nn::Backbone& backbone);

}  // namespace snell::train
