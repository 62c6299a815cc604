#include "snell/train/verify.h"

#include <ATen/Parallel.h>

#include <cstdlib>
#include <filesystem>
#include <set>

#include "snell/ckpt/inspect.h"
#include "snell/config/compose.h"
#include "snell/core/error.h"
#include "snell/core/log.h"
#include "snell/core/text.h"
#include "snell/io/files.h"
#include "snell/train/trainer.h"

namespace snell::train {
namespace {

namespace fs = std::filesystem;
using core::str;
using core::WeightsError;

// What of a run's config may be another here: it says where things lie, not what they are.
const std::vector<std::string> kPlaces{"data.file", "backbone.weights", "data.workers", "data.prefetch"};

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "snell-verify-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw core::DiskError(str("cannot create the folder ", name));
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Stop {};  // a difference was found

void check_overrides(const std::vector<std::string>& overrides) {
  for (const std::string& text : overrides) {
    const std::string key = text.substr(0, text.find('='));
    if (std::find(kPlaces.begin(), kPlaces.end(), key) != kPlaces.end()) continue;
    throw core::ConfigError(
        str("'", text, "': a replay is made with the run's own settings; only ", core::join(kPlaces), " can be set"));
  }
}

JobConfig config_of(const ChainPart& part, const std::vector<std::string>& overrides) {
  const TemporaryFolder folder;
  io::write_file(folder.path() + "/config.yaml", part.config.dump(2));  // JSON is YAML
  JobConfig job;
  config::bind_section(config::compose({{folder.path()}}, "config", overrides).root, "", job);
  return job;
}

// Checkpoints that the chain leads to, and its start; ascending.
std::vector<Start> usable_starts(const Chain& chain, const std::string& root) {
  std::vector<Start> out;
  for (const std::string& folder : ckpt::checkpoint_folders(root)) {
    try {
      const ckpt::Manifest manifest = ckpt::read_manifest(folder);
      if (!chain.covers(manifest.step)) continue;
      const std::string link = chain_link_of(manifest);
      const bool begins_here = link.empty() && manifest.step == chain.first_step();  // written without a chain
      if (!begins_here && link != chain.link_after(manifest.step).hex()) {
        throw WeightsError(str("its link of the chain is not the one of step ", manifest.step, " in ", kChainName));
      }
      ckpt::verify_files(folder, manifest);
      if (out.empty() || out.back().step != manifest.step) out.push_back({manifest.step, folder});
    } catch (const WeightsError& error) {
      core::log_warning(str("checkpoint ", folder, " is passed over: ", error.what()));
    }
  }
  if (chain.first_step() == 0 && (out.empty() || out.back().step != 0)) out.push_back({0, ""});
  std::reverse(out.begin(), out.end());
  return out;
}

// Why a replay of this part here would prove nothing; "" where it would.
std::string misfit(const ChainPart& part) {
  const ChainFacts here = own_facts("cpu");
  const auto differs = [&](const char* what, const std::string& then, const std::string& now) {
    return then == now ? "" : str(what, " was '", then, "' and is '", now, "' here; ");
  };
  return differs("the instruction set", part.facts.instruction_set, here.instruction_set) +
         differs("the program", part.facts.version, here.version) +
         differs("the device", part.facts.device, here.device);
}

void check_fits(const Chain& chain, const VerifyPlan& plan, bool anyway) {
  std::set<const ChainPart*> parts;
  for (const Stretch& stretch : plan.stretches) {
    for (int64_t step = stretch.from.step + 1; step <= stretch.to; ++step) parts.insert(&chain.part_of(step));
  }
  for (const ChainPart* part : parts) {
    const std::string why = misfit(*part);
    if (why.empty()) continue;
    const std::string text = str("of the steps after step ", part->step, " ", why, "equal bits cannot be expected");
    if (!anyway) throw WeightsError(text + ". Verify with the same program on a like machine, or add --anyway");
    core::log_warning(text);
  }
}

class Verifier {
 public:
  Verifier(const Chain& chain, const VerifyRequest& request, std::vector<Start> starts,
           const std::function<void(int64_t)>& on_step)
      : chain_(chain), request_(request), starts_(std::move(starts)), on_step_(on_step) {}

  std::optional<Difference> replay(const Stretch& stretch) {
    difference_.reset();
    const auto end = std::find_if(starts_.begin(), starts_.end(), [&](const Start& s) { return s.step == stretch.to; });
    const bool compares = end != starts_.end() && !end->checkpoint.empty();
    Start from = stretch.from;
    while (from.step < stretch.to && !difference_) {
      const int64_t to = std::min(stretch.to, end_of_config(from.step + 1));
      from = {to, replay_part(from, to, to < stretch.to || compares)};
    }
    if (!difference_ && compares) compare_checkpoints(from.checkpoint, *end);
    return difference_;
  }

 private:
  // The last step that was made with the settings of this one.
  int64_t end_of_config(int64_t step) const {
    const ChainPart& part = chain_.part_of(step);
    for (const ChainPart& later : chain_.parts) {
      if (later.step >= step && (later.config != part.config || later.facts.threads != part.facts.threads)) {
        return later.step;
      }
    }
    return chain_.last_step();
  }

  // Steps (from.step, to], all of one config. The folder of a checkpoint of the end, where it `saves`.
  std::string replay_part(const Start& from, int64_t to, bool saves) {
    const ChainPart& part = chain_.part_of(to);
    JobConfig job = config_of(part, request_.overrides);
    // One rank that only trains, below another folder.
    job.run.dir = str(folder_.path(), "/", to);
    job.run.device = "cpu";
    job.run.threads = part.facts.threads;
    job.train.max_steps = to;
    job.train.eval_interval = job.train.eval_last = 0;
    job.checkpoint = {saves ? to : 0, 0, 1, false, "checkpoints"};
    job.dist.backend = "self";
    job.dist.shard = {};
    job.dist.chain = "true";
    job.dist.check_replicas_every = 0;

    const Replay replay{from.checkpoint, [&](const core::Hash128& state) { look_at_start(from.step, state); },
                        [&](const ChainRecord& record) { look_at(record); }};
    dist::SelfControlPlane self;
    Trainer trainer(job, part.config.dump(), self, {replay, {}});
    try {
      trainer.run();
    } catch (const Stop&) {
      return "";
    }
    core::check(trainer.position().step == to, str("the replay ended at step ", trainer.position().step));
    return saves ? ckpt::checkpoint_folders(ckpt::checkpoint_root(job.run.dir, job.checkpoint)).at(0) : "";
  }

  void look_at_start(int64_t step, const core::Hash128& state) {
    if (state != chain_.state_after(step)) difference_ = {step, Difference::Kind::kStart, {}, ""};
  }

  void look_at(const ChainRecord& record) {
    if (!difference_) difference_ = compare_records(chain_.record(record.step), record);
    if (difference_) throw Stop();
    on_step_(record.step);
  }

  // What the chain's hash of a step leaves out: the optimizer's state, averages, importances.
  void compare_checkpoints(const std::string& replayed, const Start& run) {
    const ckpt::Manifest ours = ckpt::read_manifest(replayed), theirs = ckpt::read_manifest(run.checkpoint);
    for (const auto& [name, record] : theirs.tensors) {
      const auto own = ours.tensors.find(name);
      if (own != ours.tensors.end() && own->second.hash != record.hash) {
        difference_ = {run.step, Difference::Kind::kCheckpoint, {}, name};
        return;
      }
    }
  }

  const Chain& chain_;
  const VerifyRequest& request_;
  const std::vector<Start> starts_;
  const std::function<void(int64_t)>& on_step_;
  const TemporaryFolder folder_;
  std::optional<Difference> difference_;
};

}  // namespace

VerifyResult verify_run(const VerifyRequest& request, const std::function<void(const VerifyPlan&)>& on_plan,
                        const std::function<void(int64_t step)>& on_step) {
  check_overrides(request.overrides);
  const std::string path = request.run_dir + "/" + kChainName;
  if (!fs::exists(path)) {
    throw WeightsError(str(request.run_dir, " holds no ", kChainName,
                           ": only runs with dist.reproducible=true and dist.chain keep what is verified"));
  }
  const Chain chain = read_chain(path);
  const ckpt::CheckpointConfig checkpoints = config_of(chain.parts.back(), request.overrides).checkpoint;
  const auto starts = usable_starts(chain, ckpt::checkpoint_root(request.run_dir, checkpoints));
  VerifyResult result;
  result.plan = plan_verification(starts, chain.last_step(), request);
  check_fits(chain, result.plan, request.anyway);
  on_plan(result.plan);
  Verifier verifier(chain, request, starts, on_step);
  for (const Stretch& stretch : result.plan.stretches) {
    if (auto difference = verifier.replay(stretch)) result.differences.push_back(std::move(*difference));
  }
  return result;
}

}  // namespace snell::train
