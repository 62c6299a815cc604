#include "snell/train/dry_run.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "gradient_shards.h"
#include "snell/ckpt/checkpoint.h"
#include "snell/data/dataset_file.h"
#include "snell/data/sampler.h"
#include "snell/dist/control_plane.h"
#include "snell/plan/scaling.h"
#include "snell/train/memory_plan.h"
#include "snell/train/model.h"
#include "snell/train/reproducible.h"

namespace snell::train {
namespace {

namespace fs = std::filesystem;
using core::ExitCode;
using core::human_bytes;
using core::str;
using Status = Finding::Status;

constexpr int64_t kClassesOfImageNet = 1000;

class DryRun {
 public:
  DryRun(const JobConfig& config, const DryRunRequest& request) : config_(config), request_(request) {}

  std::vector<Finding> run() {
    check("data", [&] { return data(); });
    check("settings", [&] { return settings(); });
    check("batches", [&] { return batches(); });
    check("weights", [&] { return weights(); });
    check("memory", [&] { return memory(); });
    check("folder", [&] { return folder(); });
    check("disk", [&] { return disk(); });
    check("resume", [&] { return resume(); });
    return std::move(findings_);
  }

 private:
  template <class F>
  void check(const std::string& name, const F& look) {
    Finding finding;
    try {
      finding = look();
    } catch (const core::Error& error) {
      finding = {.status = Status::kFail, .text = error.what(), .code = error.exit_code()};
    } catch (const std::exception& error) {
      finding = {.status = Status::kFail, .text = error.what(), .code = ExitCode::kInternal};
    }
    finding.check = name;
    findings_.push_back(std::move(finding));
  }

  static Finding ok(const std::string& text) { return {.text = text}; }
  static Finding warn(const std::string& text) { return {.status = Status::kWarn, .text = text}; }
  static Finding fail(ExitCode code, const std::string& text) {
    return {.status = Status::kFail, .text = text, .code = code};
  }

  int64_t ranks() const { return request_.ranks.count; }

  Finding data() {
    const auto& d = config_.data;
    const auto train = data::open_dataset(d.file, d.train_split), eval = data::open_dataset(d.file, d.eval_split);
    num_classes_ = train->num_classes();
    train_samples_ = train->size();
    eval_samples_ = eval->size();
    return ok(str(d.file, ": ", train_samples_, " samples to train on, ", eval_samples_, " to judge, ", num_classes_,
                  " classes"));
  }

  Finding settings() const {
    check_reproducible(config_, static_cast<int>(ranks()));
    const int64_t node = config_.dist.wire.node_size;
    if (node > 0 && ranks() > node && ranks() % node != 0) {
      return fail(ExitCode::kConfig, str("dist.node_size = ", node, " does not divide ", ranks(),
                                         " ranks; take a multiple of it, or 0: the ranks that share a machine"));
    }
    const std::string& backend = config_.dist.backend;
    if (backend == "self" && ranks() > 1) {
      return fail(ExitCode::kConfig, str("dist.backend=self with ", ranks(),
                                         " ranks would train as many separate models; use dist.backend=auto"));
    }
    const bool gpus = request_.machine != nullptr && !request_.machine->shared_cores;
    if (backend == "mpi" && gpus) {
      return fail(ExitCode::kConfig, "dist.backend=mpi moves CPU tensors, but the machine has GPUs; use auto or nccl");
    }
    if (backend == "nccl" && request_.machine != nullptr && !gpus) {
      return fail(ExitCode::kConfig, "dist.backend=nccl moves CUDA tensors, but the machine has none; use auto or mpi");
    }
    return ok(str(ranks(), " ranks on ", request_.ranks.nodes(), request_.ranks.nodes() == 1 ? " node" : " nodes"));
  }

  Finding batches() const {
    const int64_t batch = config_.data.batch_size, shards = num_shards(config_, ranks());
    const int64_t samples = train_samples_ > 0 ? train_samples_ : batch;
    const data::BatchPlan plan(samples, batch, shards, ranks(), config_.data.drop_last);
    if (plan.num_steps() == 0) {
      return fail(ExitCode::kData,
                  str("split '", config_.data.train_split, "' of ", samples, " samples gives no step of batch size ",
                      batch, "; give it samples, or set data.drop_last=false"));
    }
    const std::string dealt = str("a batch of ", batch, " in ", shards, " parts for ", ranks(), " ranks, ",
                                  plan.num_steps(), " steps an epoch");
    if (batch < ranks()) {
      return warn(str(dealt, ": ", ranks() - batch, " ranks have no sample and only wait; raise data.batch_size to ",
                      ranks(), " or more, or take ", batch, " ranks"));
    }
    if (batch < shards) {
      return warn(str(dealt, ": ", shards - batch, " parts are empty; raise data.batch_size to ", shards,
                      " or more, or lower ", config_.dist.reproducible ? "dist.virtual_shards" : "optim.accumulate"));
    }
    if (batch % shards != 0) {
      return warn(str(dealt, ": some have ", batch / shards, " samples, some ", batch / shards + 1,
                      ", and the step waits for these; data.batch_size=", (batch + shards - 1) / shards * shards,
                      " gives all alike"));
    }
    return ok(str(dealt, ", ", batch / shards, " samples a part"));
  }

  Finding weights() const {
    const std::string& file = config_.backbone.weights;
    if (file.empty()) return warn("backbone.weights is empty: the run starts from random weights");
    // On the meta device there is no memory for them, but every name, shape, type and byte is looked at.
    make_model(config_, num_classes(), {compute_dtype(config_.run), at::kMeta});
    return ok(str(file, ": fits, ", human_bytes(static_cast<double>(bytes_below(file)))));
  }

  Finding memory() {
    JobConfig config = config_;
    const plan::Machine* machine = request_.machine;
    if (machine != nullptr && !machine->shared_cores) config.run.device = "cuda";
    const MemoryPlan plan = plan_memory(config, {.num_classes = num_classes(),
                                                 .num_ranks = ranks(),
                                                 .ranks_per_node = request_.ranks.per_node,
                                                 .train_samples = train_samples_,
                                                 .eval_samples = eval_samples_});
    const MemoryCount& largest = plan.largest().count;
    state_bytes_ = plan.trainable_bytes + largest.of(MemoryUse::kOptimizer) + largest.of(MemoryUse::kAverages);
    export_bytes_ = plan.trainable_bytes * (config.optim.ema.enabled ? 2 : 1);
    const bool gpu = config.run.device == "cuda";
    const double needed = static_cast<double>(largest.total() + (gpu ? 0 : measure_program(config)));
    const int64_t here = ::sysconf(_SC_PHYS_PAGES) * ::sysconf(_SC_PAGESIZE);
    const double there = machine != nullptr && machine->memory_gb > 0
                             ? machine->memory_bytes_a_rank(request_.ranks.on_node())
                             : static_cast<double>(here) / static_cast<double>(request_.ranks.on_node());
    const std::string found = str("a rank needs ", human_bytes(needed), " of ", human_bytes(there), " (",
                                  machine != nullptr ? machine->name : "this machine, shared by its ranks",
                                  "), most in ", plan.largest().name);
    if (needed > there) return fail(ExitCode::kConfig, found + "; snell plan with the same settings says what helps");
    return needed > 0.9 * there ? warn(found + ": little is left") : ok(found);
  }

  // The nearest folder that is there already.
  static fs::path existing(fs::path path) {
    path = fs::absolute(path).lexically_normal();
    std::error_code ignored;
    while (!fs::is_directory(path, ignored) && path.has_relative_path()) path = path.parent_path();
    return path;
  }

  std::vector<fs::path> folders() const {
    return {config_.run.dir, ckpt::checkpoint_root(config_.run.dir, config_.checkpoint)};
  }

  Finding folder() const {
    for (const fs::path& wanted : folders()) {
      const fs::path folder = existing(wanted);
      std::string name = (folder / ".snell-dry-run-XXXXXX").string();
      const int file = ::mkstemp(name.data());
      if (file < 0) {
        return fail(ExitCode::kDisk, str(wanted.string(), " cannot be written: ", folder.string(), ": ",
                                         std::strerror(errno), "; choose another run.dir or checkpoint.folder"));
      }
      ::close(file);
      ::unlink(name.c_str());
    }
    return ok(config_.run.dir + " can be written");
  }

  Finding disk() const {
    const auto& c = config_.checkpoint;
    const bool saves = c.every_steps > 0 || c.every_epochs > 0;
    if (!saves) return warn("checkpoint.every_epochs and every_steps are 0: nothing of the run is kept");
    const int64_t count = c.keep + (c.keep_best ? 1 : 0) + 1;  // one that is being written
    const double needed = static_cast<double>(count * state_bytes_ + export_bytes_);
    const auto there = static_cast<double>(fs::space(existing(folders()[1])).available);
    const std::string found =
        str("checkpoints take ", human_bytes(needed), " (", count, " of ",
            human_bytes(static_cast<double>(state_bytes_)), "), ", human_bytes(there), " are free");
    if (needed > there) return fail(ExitCode::kDisk, found + "; lower checkpoint.keep, or choose another run.dir");
    return needed > 0.5 * there ? warn(found) : ok(found);
  }

  Finding resume() const {
    dist::SelfControlPlane control;
    const auto latest = ckpt::find_latest(config_.run.dir, control, config_.checkpoint);
    const std::string& how = config_.run.resume;
    if (!latest) {
      if (how == "must") {
        return fail(ExitCode::kConfig, str("run.resume=must, but ", config_.run.dir, " has no checkpoint"));
      }
      return ok("nothing is there: a fresh start");
    }
    if (how == "never") {
      return fail(ExitCode::kConfig, str("run.resume=never, but ", config_.run.dir,
                                         " has checkpoints; choose another "
                                         "run.dir"));
    }
    return ok("goes on from " + *latest);
  }

  static int64_t bytes_below(const fs::path& path) {
    std::error_code ignored;
    if (fs::is_regular_file(path, ignored)) return static_cast<int64_t>(fs::file_size(path, ignored));
    int64_t sum = 0;
    for (const auto& entry : fs::directory_iterator(path, ignored)) {
      if (entry.is_regular_file(ignored)) sum += static_cast<int64_t>(entry.file_size(ignored));
    }
    return sum;
  }

  int64_t num_classes() const { return num_classes_ > 0 ? num_classes_ : kClassesOfImageNet; }

  const JobConfig& config_;
  const DryRunRequest& request_;
  std::vector<Finding> findings_;
  int64_t num_classes_ = 0, train_samples_ = 0, eval_samples_ = 0;  // 0: the data could not be read
  int64_t state_bytes_ = 0, export_bytes_ = 0;
};

}  // namespace

const char* status_name(Finding::Status status) {
  return status == Status::kOk ? "ok" : status == Status::kWarn ? "warn" : "fail";
}

std::vector<Finding> dry_run(const JobConfig& config, const DryRunRequest& request) {
  return DryRun(config, request).run();
}

core::ExitCode exit_code_of(const std::vector<Finding>& findings) {
  const auto failed = std::ranges::find(findings, Status::kFail, &Finding::status);
  return failed == findings.end() ? ExitCode::kOk : failed->code;
}

}  // namespace snell::train
