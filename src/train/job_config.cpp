#include "snell/train/job_config.h"

namespace snell::train {

void bind(config::Binder& b, RunConfig& c) {
  b.field("name", c.name, "what reports call the run");
  b.field("dir", c.dir, "the run's folder: config, metrics, report, logs, checkpoints");
  b.field("device", c.device, "auto takes a GPU when every rank of the node has one",
          config::one_of({"auto", "cpu", "cuda"}));
  b.field("dtype", c.dtype,
          "type of frozen weights and of activations; beside a 16-bit one, what trains is float32 (docs/precision.md)",
          config::one_of({"float32", "float64", "bfloat16", "float16"}));
  b.field("threads", c.threads, "LibTorch's threads a rank; 0: OMP_NUM_THREADS, else cores / ranks of the node",
          config::in_range(0, 4096));
  b.field("log_every", c.log_every, "steps between lines of the log and events of metrics.jsonl", config::at_least(1));
  b.field("resume", c.resume, "auto continues the run in its folder; never refuses a folder that holds checkpoints",
          config::one_of({"auto", "never", "must"}));
  b.require(!c.dir.empty(), "dir", "must name the run's folder");
}

void bind(config::Binder& b, ScheduleConfig& c) {
  b.field("name", c.name, "learning rate over the epochs", config::one_of({"cosine", "constant"}));
  b.field("warmup_epochs", c.warmup_epochs, "epochs of linear rise from warmup_lr", config::at_least(0));
  b.field("warmup_lr", c.warmup_lr, "learning rate at the start of the warm-up", config::at_least(0));
  b.field("min_lr", c.min_lr, "learning rate at the end of the cosine", config::at_least(0));
  b.field("cooldown_epochs", c.cooldown_epochs, "last epochs at min_lr, outside the cosine", config::at_least(0));
  b.field("stepping", c.stepping, "reference: epochs 0 and 1 both run at the start value, as in the published code",
          config::one_of({"before", "reference"}));
}

void bind(config::Binder& b, EmaConfig& c) {
  b.field("enabled", c.enabled, "keep a moving average of the trained weights");
  b.field("decay", c.decay, "share of the average that stays at each step", config::in_range(0, 1));
  b.field("warmup", c.warmup, "less of it stays at the start: at most 1 - step^(-2/3), timm's curve");
  b.field(
      "evaluate", c.evaluate,
      "with an average: which weights evaluations judge; the best checkpoint is the trained weights' best, with ema "
      "the average's",
      config::one_of({"both", "model", "ema"}));
}

void bind(config::Binder& b, OptimConfig& c) {
  b.field("name", c.name, "optimizer", config::one_of({"adamw", "sgd"}));
  b.field("lr", c.lr, "peak learning rate, for the global batch as it is", config::at_least(0));
  b.field("weight_decay", c.weight_decay, "not on biases, norms, class token, position embedding", config::at_least(0));
  b.field("betas", c.betas, "adamw's decay rates of the moments", config::Limits{0.0, 1.0, false, true, {}});
  b.field("eps", c.eps, "adamw's epsilon", config::positive());
  b.field("momentum", c.momentum, "sgd's momentum", config::in_range(0, 1));
  b.field("clip_norm", c.clip_norm, "largest gradient norm; 0: no clipping", config::at_least(0));
  b.field("accumulate", c.accumulate, "parts in which a rank goes through its share of a global batch",
          config::in_range(1, 65536));
  b.field("label_smoothing", c.label_smoothing, "share of the target spread over all classes", config::in_range(0, 1));
  b.field("loss_scale", c.loss_scale, "float16: what the loss is multiplied by at the start of a run",
          config::in_range(1, 1e12));
  b.section("schedule", c.schedule);
  b.section("ema", c.ema);
  b.require(c.betas.size() == 2, "betas", "must be two numbers");
}

void bind(config::Binder& b, TrainConfig& c) {
  b.field("epochs", c.epochs, "passes over the training split", config::in_range(1, 1e9));
  b.field("eval_interval", c.eval_interval, "evaluate every so many epochs, and at the end; 0: not by epochs",
          config::at_least(0));
  b.field("eval_last", c.eval_last, "evaluate after each of the last so many epochs; with eval_interval=0 too: never",
          config::at_least(0));
  b.field("max_steps", c.max_steps, "stop after so many optimizer steps; 0: after all epochs", config::at_least(0));
}

void bind(config::Binder& b, JobConfig& c) {
  b.field("seed", c.seed, "key of every random draw");
  b.section("run", c.run);
  b.section("backbone", c.backbone);
  b.section("adapter", c.adapter);
  b.section("data", c.data);
  b.section("optim", c.optim);
  b.section("train", c.train);
  b.section("dist", c.dist);
  b.section("checkpoint", c.checkpoint);
  const auto& allocator = c.adapter.allocator;
  b.require(allocator.metric == "none" || allocator.warmup_epochs + allocator.final_epochs < c.train.epochs,
            "adapter.allocator.warmup_epochs",
            core::str("and final_epochs leave none of the train.epochs (", c.train.epochs, ") to share out in"));
  const std::string& kind = c.backbone.frozen_storage;
  b.require(c.dist.shard.frozen == "none" || kind == "plain" || kind == "bfloat16", "backbone.frozen_storage",
            core::str("must be plain or bfloat16 with dist.shard_frozen=", c.dist.shard.frozen, ": ", kind,
                      " weights are not cut into shards"));
  b.require(c.data.transform.size == c.backbone.image_size, "data.transform.size",
            core::str("must equal backbone.image_size (", c.backbone.image_size, ")"));
}

at::ScalarType compute_dtype(const RunConfig& config) {
  if (config.dtype == "float64") return at::kDouble;
  if (config.dtype == "bfloat16") return at::kBFloat16;
  return config.dtype == "float16" ? at::kHalf : at::kFloat;
}

}  // namespace snell::train
