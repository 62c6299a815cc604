// `snell verify`: one rank makes chosen steps of a run again and compares them with the run's chain (chain.h).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "snell/train/chain.h"

namespace snell::train {

struct VerifyRequest {
  std::string run_dir;
  int64_t num_steps = 10;      // drawn with `seed` from all that can be replayed,
  std::vector<int64_t> steps;  // unless these are given,
  bool all = false;            // or all of them
  uint64_t seed = 0;
  bool anyway = false;                 // replay where this process is not as the run was, too
  std::vector<std::string> overrides;  // where data and weights lie now: data.file=…, backbone.weights=…
};

// The first thing of a stretch that came out otherwise; what follows from it is not compared.
struct Difference {
  enum class Kind {
    kStart,       // the state that the stretch begins with
    kShards,      // gradients of some virtual shards
    kAllShards,   // of all of them: what the step began with
    kLoss,        // shards are equal, losses are not
    kSum,         // shards are equal, their sum is not
    kUpdate,      // gradients are equal, parameters after the update are not
    kCheckpoint,  // parameters are equal, other tensors of the step's checkpoint are not
  };
  int64_t step = 0;
  Kind kind = Kind::kStart;
  std::vector<int64_t> shards;  // of kShards, kAllShards
  std::string tensor;           // of kCheckpoint: the first
};
const char* name_of(Difference::Kind kind);
std::string text_of(const Difference& difference);

// A state of the run that can be had: after step `step`.
struct Start {
  int64_t step = 0;
  std::string checkpoint;  // its folder; "": as a fresh run starts
};

// Steps (from.step, to] are made again.
struct Stretch {
  Start from;
  int64_t to = 0;
};

struct VerifyPlan {
  int64_t first = 0, last = -1;  // steps that can be replayed
  std::vector<int64_t> steps;    // chosen, ascending
  std::vector<Stretch> stretches;
  int64_t num_replayed() const;
};

struct VerifyResult {
  VerifyPlan plan;
  std::vector<Difference> differences;  // at most one a stretch, ascending
  bool equal() const { return differences.empty(); }
};

// Which stretches the request needs, each from the last of `starts` (ascending) before its steps; `last_step` is the
// chain's. Throws WeightsError when there is no start, ConfigError for a step that cannot be replayed.
VerifyPlan plan_verification(const std::vector<Start>& starts, int64_t last_step, const VerifyRequest& request);

// How one step of a replay differs from the chain's record of it, if it does.
std::optional<Difference> compare_records(const ChainRecord& chain, const ChainRecord& replayed);

// Reads, writes nothing below run_dir, and uses a temporary folder. `on_plan` before the replays, `on_step` after each
// step. Throws WeightsError for a chain or checkpoints that cannot be used, and where this process could not come out
// equal whatever the run did (another instruction set or version), unless request.anyway.
VerifyResult verify_run(const VerifyRequest& request, const std::function<void(const VerifyPlan&)>& on_plan,
                        const std::function<void(int64_t step)>& on_step);

}  // namespace snell::train
