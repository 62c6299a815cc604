// Everything that a training run is told: the root of the composed config. Each module owns its section.
#pragma once

#include <cstdint>
#include <string>

#include "snell/ckpt/config.h"
#include "snell/config/binder.h"
#include "snell/data/config.h"
#include "snell/dist/config.h"
#include "snell/nn/backbone.h"
#include "snell/peft/tuning.h"

namespace snell::train {

struct RunConfig {
  std::string name = "run";
  std::string dir;                // the run's folder
  std::string device = "auto";    // auto, cpu, cuda
  std::string dtype = "float32";  // float32, bfloat16, float16, float64
  int64_t threads = 0;            // LibTorch's threads a rank; 0: OMP_NUM_THREADS, else cores / ranks of the node
  int64_t log_every = 50;         // steps between lines of the log and events of metrics.jsonl
  std::string resume = "auto";    // auto, never, must
};

struct ScheduleConfig {
  std::string name = "cosine";  // cosine, constant
  int64_t warmup_epochs = 10;
  double warmup_lr = 1e-6;
  double min_lr = 1e-5;
  int64_t cooldown_epochs = 0;
  std::string stepping = "before";  // before, reference
};

struct EmaConfig {
  bool enabled = false;
  double decay = 0.9999;
  bool warmup = false;
  std::string evaluate = "both";  // both, model, ema
};

struct OptimConfig {
  std::string name = "adamw";  // adamw, sgd
  double lr = 1e-3;
  double weight_decay = 0.01;
  std::vector<double> betas{0.9, 0.999};
  double eps = 1e-8;
  double momentum = 0.9;
  double clip_norm = 0;  // 0: no clipping
  int64_t accumulate = 1;
  double label_smoothing = 0;
  double loss_scale = 65536;
  ScheduleConfig schedule;
  EmaConfig ema;
};

struct TrainConfig {
  int64_t epochs = 100;
  int64_t eval_interval = 10;  // evaluate every so many epochs ...
  int64_t eval_last = 10;      // ... and after each of the last so many; both 0: never
  int64_t max_steps = 0;       // stop after so many optimizer steps; 0: after `epochs`
};

struct JobConfig {
  uint64_t seed = 0;
  RunConfig run;
  nn::BackboneConfig backbone;
  peft::AdapterConfig adapter;
  data::DataConfig data;
  OptimConfig optim;
  TrainConfig train;
  dist::DistConfig dist;
  ckpt::CheckpointConfig checkpoint;
};

void bind(config::Binder& binder, RunConfig& config);
void bind(config::Binder& binder, ScheduleConfig& config);
void bind(config::Binder& binder, EmaConfig& config);
void bind(config::Binder& binder, OptimConfig& config);
void bind(config::Binder& binder, TrainConfig& config);
void bind(config::Binder& binder, JobConfig& config);

at::ScalarType compute_dtype(const RunConfig& config);

}  // namespace snell::train
