// snell plan: what memory a run will take, and on a cluster how long its steps will, before it is started.
#include "plan.h"

#include <unistd.h>

#include <filesystem>
#include <iostream>

#include "snell/core/text.h"
#include "snell/data/dataset_file.h"
#include "snell/report/table.h"
#include "snell/train/calibrate.h"

namespace snell::apps {
namespace {

using core::str;
using train::MemoryUse;

constexpr double kMegabyte = 1 << 20;  // as in a run's record: peak_memory_mb
constexpr int64_t kClassesOfImageNet = 1000;

// A config must choose its data, which a plan does not need.
std::vector<std::string> with_data(std::vector<std::string> overrides) {
  const bool has_data = std::any_of(overrides.begin(), overrides.end(), [](const std::string& text) {
    return text.starts_with("data=") || text.starts_with("experiment=") || text.starts_with("+experiment=");
  });
  if (!has_data) overrides.insert(overrides.begin(), {"data=imagefolder", "data.file=none"});
  const bool has_dir =
      std::any_of(overrides.begin(), overrides.end(), [](const auto& text) { return text.starts_with("run.dir="); });
  if (!has_dir) overrides.push_back("run.dir=none");
  return overrides;
}

}  // namespace

Job plan_job(const PlanOptions& o, const std::vector<std::string>& more) {
  auto overrides = with_data(o.overrides);
  overrides.insert(overrides.end(), more.begin(), more.end());
  return compose_job(o.config_dir, overrides);
}

train::PlanRequest plan_request(const train::JobConfig& config, const PlanOptions& o, int64_t ranks) {
  train::PlanRequest request;
  request.num_classes = o.classes.value_or(kClassesOfImageNet);
  request.num_ranks = ranks;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(config.data.file, ignored)) return request;
  const data::DatasetInfo info = data::describe_dataset(config.data.file);
  if (!o.classes) request.num_classes = static_cast<int64_t>(info.class_names.size());
  for (const auto& split : info.splits) {
    if (split.name == config.data.train_split) request.train_samples = split.size;
    if (split.name == config.data.eval_split) request.eval_samples = split.size;
  }
  return request;
}

namespace {

double megabytes(int64_t bytes) {
  return static_cast<double>(bytes) / kMegabyte;
}

double machine_mb() {
  return static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE)) / kMegabyte;
}

report::Table table_of(const train::MemoryPlan& plan, int64_t program) {
  const train::MemoryCount& peak = plan.largest().count;
  report::Table table({{"what", "what"}, {"mb", "MB"}});
  const auto row = [&](const char* what, int64_t bytes) { table.add({what, std::llround(megabytes(bytes))}); };
  row("weights", peak.of(MemoryUse::kWeights));
  row("gradients", peak.of(MemoryUse::kGradients));
  row("optimizer's state", peak.of(MemoryUse::kOptimizer));
  row("moving average of the weights", peak.of(MemoryUse::kAverages));
  row("batches of images", peak.of(MemoryUse::kImages));
  row("activations", peak.of(MemoryUse::kForward));
  row("working memory of the backward pass", peak.of(MemoryUse::kBackward));
  row("working memory of the update", peak.of(MemoryUse::kOther));
  row("program and libraries", program);
  row("total a rank", peak.total() + program);
  return table;
}

double total_mb(const train::MemoryPlan& plan, int64_t program) {
  return megabytes(plan.largest().count.total() + program);
}

// Changes of the config that take less, with what they lead to.
std::vector<std::pair<std::string, double>> remedies(const PlanOptions& o, int64_t ranks,
                                                     const train::JobConfig& config, double before, int64_t program) {
  std::vector<std::pair<std::string, double>> out;
  const auto attempt = [&](const std::string& change) {
    try {
      const Job job = plan_job(o, {change});
      const double mb = total_mb(train::plan_memory(job.config, plan_request(job.config, o, ranks)), program);
      if (mb < 0.98 * before) out.emplace_back(change, mb);
    } catch (const core::ConfigError&) {
      // A setting that this config cannot have.
    }
  };
  if (config.data.batch_size > ranks) attempt(str("data.batch_size=", std::max(ranks, config.data.batch_size / 2)));
  if (config.data.batch_size > ranks * config.optim.accumulate) {
    attempt(str("optim.accumulate=", 2 * config.optim.accumulate));
  }
  if (config.data.eval_batch_size > 1) attempt(str("data.eval_batch_size=", config.data.eval_batch_size / 2));
  attempt("backbone.checkpoint_blocks=true");
  attempt("adapter.delta_cache=recompute");
  if (config.run.dtype == "float32") attempt("run.dtype=bfloat16");
  if (ranks > 1) {
    attempt("dist.shard_frozen=full");
    attempt("dist.shard_optimizer=true");
  }
  for (const char* storage : {"bfloat16", "int8", "mapped"}) attempt(str("backbone.frozen_storage=", storage));
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return out;
}

int plan_run(const PlanOptions& o) {
  const std::optional<Cluster> cluster = plan_cluster(o);
  const int64_t ranks = cluster ? cluster->ranks.count : o.ranks.value_or(1);
  Job job = plan_job(o);
  if (job.config.run.threads > 0) at::set_num_threads(static_cast<int>(job.config.run.threads));
  if (cluster && !cluster->machine.shared_cores) job.config.run.device = "cuda";
  const bool cuda = job.config.run.device == "cuda";
  train::PlanRequest request = plan_request(job.config, o, ranks);
  if (cluster) request.ranks_per_node = cluster->ranks.per_node;
  const train::MemoryPlan plan = train::plan_memory(job.config, request);
  const int64_t program = cuda ? 0 : train::measure_program(job.config);
  const double total = total_mb(plan, program);
  double limit = o.limit_mb > 0 ? o.limit_mb : machine_mb() / static_cast<double>(ranks);
  if (o.limit_mb == 0 && cluster && cluster->machine.memory_gb > 0) {
    limit = cluster->machine.memory_bytes_a_rank(cluster->ranks.on_node()) / kMegabyte;
  }
  const report::Table table = table_of(plan, program);
  nlohmann::ordered_json json = {
      {"total_mb", total},      {"program_mb", megabytes(program)},     {"limit_mb", limit},
      {"fits", total <= limit}, {"largest_phase", plan.largest().name}, {"phases", nlohmann::ordered_json::object()},
      {"memory", table.json()}};
  std::string text = table.text() + str("\nlargest in     ", plan.largest().name, "\n");
  if (cuda) {
    text += "On a GPU: tensors alone. CUDA's context and what its allocator keeps come on top; not measured.\n";
  }
  for (const auto& phase : plan.phases) json["phases"][phase.name] = megabytes(phase.count.total() + program);
  if (total > limit) {
    text +=
        str("\nThis is more than the ", std::llround(limit), " MB that are there. What would help, and its total:\n");
    report::Table help({{"change", "change"}, {"mb", "MB"}});
    for (const auto& [change, mb] : remedies(o, ranks, job.config, total, program))
      help.add({change, std::llround(mb)});
    text += help.text();
    json["remedies"] = help.json();
  }
  if (cluster) {
    const ClusterReport report = report_cluster(o, *cluster, job, plan, program);
    text += "\n" + report.text;
    json.update(report.json);
  }
  std::cout << (o.json ? json.dump(2) + "\n" : text);
  return 0;
}

int run(PlanOptions o) {
  return with_mpi([&](dist::ControlPlane& control) {
    if (o.calibrate) {
      const plan::Machine machine = train::calibrate(control, [&](const std::string& what) {
        if (control.is_root()) std::cerr << "snell plan: measuring " + what + "\n";
      });
      if (control.is_root()) std::cout << to_yaml(machine);
      return 0;
    }
    std::erase_if(o.overrides, [&](const std::string& text) {
      const bool of_machine = text.starts_with("machine.");
      if (of_machine) o.machine_overrides.push_back(text.substr(std::string("machine.").size()));
      return of_machine;
    });
    return plan_run(o);
  });
}

}  // namespace

void add_plan(CLI::App& app, Action& chosen) {
  auto o = std::make_shared<PlanOptions>();
  CLI::App* command = app.add_subcommand(
      "plan",
      "Tell what memory a training run will take, and with --machine how long its steps will, without running it\n"
      "(docs/performance.md, docs/scaling.md).\n"
      "Example: snell plan experiment=vtab/snell32/cifar data.batch_size=64 --machine h100x8 --nodes 8 --scaling");
  command->add_option("overrides", o->overrides,
                      "group=option, key=value, +key=value, ~key; machine.key=value changes the machine's numbers");
  command->add_option("--config-dir", o->config_dir, "a folder of own configs, in front of the shipped ones");
  command
      ->add_option("--classes", o->classes, "of the head; default: the data set's where its file is there, else 1000")
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("--ranks", o->ranks, "processes that share the global batch; default: 1, or all of the machine's")
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--limit-mb", o->limit_mb, "memory for a rank; default: the machine's, shared by the ranks")
      ->check(CLI::PositiveNumber);
  command->add_option("--machine", o->machine, "a file of machines by its name, or one of your own with its .yaml");
  command->add_option("--nodes", o->nodes, "of the machine; default: its file's")->check(CLI::Range(1, 1 << 20));
  command->add_option("--gpus-per-node,--ranks-per-node", o->ranks_per_node, "default: the machine file's")
      ->check(CLI::Range(1, 1 << 16));
  command->add_flag("--scaling", o->scaling, "also step times and efficiency from 1 rank on, beside full fine-tuning");
  command->add_option("--most-ranks", o->most_ranks, "where --scaling ends")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--svg", o->svg, "write a picture of --scaling's step times");
  command->add_option("--html", o->html, "write a page with --scaling's pictures and tables");
  command->add_flag("--calibrate", o->calibrate,
                    "measure this machine (under mpirun: its ranks together, then one) and print a machine file");
  command->add_flag("--json", o->json, "print as JSON");
  command->callback([o, &chosen] { chosen = [o] { return run(*o); }; });
}

}  // namespace snell::apps
