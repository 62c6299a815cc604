// snell verify: makes steps of a reproducible run again, on one rank, and says whether they come out bit by bit.
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>

#include "app.h"
#include "snell/core/timer.h"
#include "snell/train/verify.h"

namespace snell::apps {
namespace {

using core::str;
using nlohmann::ordered_json;

constexpr double kSecondsBetweenLines = 10;

struct Options {
  train::VerifyRequest request;
  std::optional<uint64_t> seed;
  bool json = false;
};

std::string numbers(const std::vector<int64_t>& values) {
  constexpr size_t kShown = 20;
  std::vector<std::string> out;
  for (const int64_t value : values) out.push_back(std::to_string(value));
  if (out.size() > kShown) {
    const std::string last = out.back();
    out.resize(kShown - 1);
    out.insert(out.end(), {"…", last});
  }
  return core::join(out);
}

std::string text_of(const train::VerifyPlan& plan) {
  std::vector<int64_t> starts;
  for (const auto& stretch : plan.stretches) starts.push_back(stretch.from.step);
  return str("steps to verify: ", numbers(plan.steps), " (", plan.first, " to ", plan.last, " can be); ",
             plan.num_replayed(), " are replayed, from the states after steps ", numbers(starts), "\n");
}

ordered_json json_of(const train::VerifyResult& result, const Options& o) {
  ordered_json differences = ordered_json::array();
  for (const auto& d : result.differences) {
    ordered_json one = {{"step", d.step}, {"kind", train::name_of(d.kind)}, {"text", train::text_of(d)}};
    if (!d.shards.empty()) one["shards"] = d.shards;
    if (!d.tensor.empty()) one["tensor"] = d.tensor;
    differences.push_back(std::move(one));
  }
  return {{"run", o.request.run_dir},
          {"equal", result.equal()},
          {"steps", result.plan.steps},
          {"seed", o.request.seed},
          {"first_replayable", result.plan.first},
          {"last_replayable", result.plan.last},
          {"replayed", result.plan.num_replayed()},
          {"differences", std::move(differences)}};
}

std::string text_of(const train::VerifyResult& result) {
  if (result.equal()) return str("equal bits: all ", result.plan.num_replayed(), " replayed steps\n");
  std::string text = "NOT EQUAL\n";
  for (const auto& difference : result.differences) text += "  " + train::text_of(difference) + "\n";
  return text;
}

int run(Options o) {
  o.request.seed = o.seed.value_or(std::random_device()());
  int64_t done = 0, total = 0;
  core::Timer since_line;
  const auto on_plan = [&](const train::VerifyPlan& plan) {
    total = plan.num_replayed();
    std::cerr << text_of(plan);
  };
  const auto on_step = [&](int64_t step) {
    ++done;
    if (since_line.seconds() < kSecondsBetweenLines) return;
    since_line.reset();
    std::cerr << str("step ", step, " is equal; ", done, " of ", total, " replayed\n");
  };
  const train::VerifyResult result = train::verify_run(o.request, on_plan, on_step);
  std::cout << (o.json ? json_of(result, o).dump(2) + "\n" : text_of(result));
  return static_cast<int>(result.equal() ? core::ExitCode::kOk : core::ExitCode::kReplicasDiffer);
}

}  // namespace

void add_verify(CLI::App& app, Action& chosen) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "verify",
      "Make steps of a run with dist.reproducible=true again, on one rank, from its checkpoints, and compare them bit "
      "by\n"
      "bit with the hashes that the run kept (chain.jsonl). Says which step and which virtual shard is not equal.\n"
      "Writes nothing into the run. Exit code 0: equal; 6: not equal; 4: a chain or checkpoints that cannot be used, "
      "or\n"
      "another instruction set or program than the run's.\n"
      "Example: snell verify runs/digits --steps 10");
  auto& r = o->request;
  command->add_option("run", r.run_dir, "the run's folder")->required();
  command->add_option("overrides", r.overrides, "where things lie here: data.file=PATH, backbone.weights=PATH");
  auto* steps = command->add_option("--steps", r.num_steps, "so many steps, drawn at random")
                    ->capture_default_str()
                    ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
  auto* step = command->add_option("--step", r.steps, "these steps (several: --step 3 --step 17)")
                   ->allow_extra_args(false)
                   ->check(CLI::PositiveNumber);
  auto* all = command->add_flag("--all", r.all, "all steps that can be replayed");
  steps->excludes(step)->excludes(all);
  step->excludes(all);
  command->add_option("--seed", o->seed, "of the draw (default: another one each time)");
  command->add_flag("--anyway", r.anyway, "replay with another program or instruction set, too");
  command->add_flag("--json", o->json, "print JSON");
  command->callback([o, &chosen] { chosen = [o] { return run(*o); }; });
}

}  // namespace snell::apps
