// snell slurm: writes the batch script of a training, or of a sweep, and submits it.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <regex>

#include "app.h"
#include "slurm_script.h"
#include "snell/config/sweep.h"
#include "snell/core/hash.h"
#include "snell/core/text.h"
#include "snell/dist/config.h"
#include "snell/io/files.h"
#include "snell/train/reproducible.h"

namespace snell::apps {
namespace {

namespace fs = std::filesystem;
using core::ConfigError;
using core::str;

constexpr int64_t kLongLead = 120, kLongerLead = 300;  // seconds; the second for jobs that may be preempted
constexpr int64_t kShortestLead = 10;
constexpr size_t kHashDigits = 8;
constexpr uint64_t kMaxSweepFile = 16 << 20;

struct Options {
  std::vector<std::string> words, lines;
  std::string config_dir, run_dir, file, name, memory;
  BatchRequest request;
  std::optional<int64_t> ranks_per_node, lead, point;
  bool print = false, submit = false, list = false;
};

// What the command line asks for: one job, or the points of a sweep, each with its folder.
struct Jobs {
  struct Item {
    std::string folder;
    std::vector<std::string> overrides;  // the last names the folder
  };
  std::string folder;  // the sweep's, or the one job's
  std::vector<Item> items;
  Job first;
};

bool names_folder(const std::string& text) {
  return text.starts_with("run.dir=") || text.starts_with("+run.dir=") || text.starts_with("++run.dir=");
}

std::string digits_of(const std::vector<std::string>& overrides) {
  const std::string text = core::join(overrides, "\n");
  return core::hash128(text.data(), text.size()).hex().substr(0, kHashDigits);
}

std::string absolute(const std::string& path) {
  return fs::absolute(path).lexically_normal().string();
}

// Batch scripts and lists are text, a line an override.
void refuse_control_characters(const std::vector<std::string>& texts) {
  for (const auto& text : texts) {
    if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; })) {
      throw ConfigError(str("'", text, "' holds a control character, which no batch script can carry"));
    }
  }
}

std::vector<std::string> sweep_lines(const Options& o) {
  std::vector<std::string> lines = o.lines;
  if (o.file.empty()) return lines;
  if (!fs::is_regular_file(o.file))
    throw ConfigError(str("--file ", o.file, " is not a file; it holds one job's overrides a line"));
  const auto bytes = io::read_file(o.file, kMaxSweepFile, io::raise_data_error);
  std::istringstream text(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  for (std::string line; std::getline(text, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    const size_t begin = line.find_first_not_of(" \t");
    if (begin != std::string::npos && line[begin] != '#') lines.push_back(line);
  }
  if (lines.empty()) throw ConfigError(str("--file ", o.file, " holds no line with overrides"));
  return lines;
}

Jobs make_jobs(const Options& o, const std::vector<std::string>& overrides, const std::vector<std::string>& lines) {
  Jobs jobs;
  const bool named = !o.run_dir.empty() || std::any_of(overrides.begin(), overrides.end(), names_folder);
  // The folder without a job's id in it: a later submission of the same command finds the run.
  const auto folder_of = [&](const std::string& configured, const std::string& otherwise) {
    return absolute(!o.run_dir.empty() ? o.run_dir : named ? configured : otherwise);
  };
  if (o.request.kind == "train") {
    jobs.first = compose_job(o.config_dir, overrides);
    const std::string dir = jobs.first.config.run.dir;
    jobs.folder = folder_of(dir, str(dir, "-", digits_of(overrides)));
    jobs.items.push_back({jobs.folder, overrides});
  } else {
    const config::Sweep sweep = config::expand_sweep(overrides, lines);
    for (const auto& point : sweep.points) {
      if (std::count_if(point.overrides.begin(), point.overrides.end(), names_folder) >
          std::count_if(sweep.fixed.begin(), sweep.fixed.end(), names_folder)) {
        throw ConfigError("run.dir cannot be swept: each point gets a folder of its own in the sweep's");
      }
      // Each is looked at before the first one starts.
      Job job = compose_job(o.config_dir, point.overrides);
      if (jobs.items.empty()) {
        const fs::path dir(job.config.run.dir);
        jobs.folder = folder_of(dir, (dir.parent_path() / str("sweep-", digits_of(sweep.fixed))).string());
        jobs.first = std::move(job);
      }
      jobs.items.push_back({jobs.folder + "/" + point.name, point.overrides});
    }
  }
  for (auto& item : jobs.items) {
    std::erase_if(item.overrides, names_folder);
    item.overrides.push_back("run.dir=" + config::override_value(item.folder));
  }
  return jobs;
}

void check_word(const char* option, const std::string& text) {
  static const std::regex kWord("[A-Za-z0-9_.,:@-]*");
  if (std::regex_match(text, kWord) && !text.starts_with("-")) return;
  throw ConfigError(str(option, " '", text, "' may hold letters, digits and _ . , : @ - only"));
}

// What the run would refuse after hours in the queue.
void check_ranks(const train::JobConfig& config, const BatchRequest& request) {
  const int64_t ranks = request.nodes * request.ranks_per_node;
  const bool gpus = request.gpus_per_node > 0;
  if (gpus && request.ranks_per_node > request.gpus_per_node) {
    throw ConfigError(str("--ranks-per-node ", request.ranks_per_node, " with --gpus-per-node ", request.gpus_per_node,
                          ": a rank needs a GPU of its own"));
  }
  if (gpus && config.run.device == "cpu") {
    throw ConfigError("run.device=cpu with --gpus-per-node: the GPUs would stay idle; leave one of the two out");
  }
  if (!gpus && config.run.device == "cuda") {
    throw ConfigError("run.device=cuda without GPUs: say how many with --gpus-per-node");
  }
  if (gpus && !dist::has_nccl() && std::getenv("SNELL_PROGRAM") == nullptr) {
    throw ConfigError(
        "--gpus-per-node, but this program was built without CUDA; use build-cuda/bin/snell, or name the "
        "program of the job in SNELL_PROGRAM");
  }
  if (config.data.batch_size < ranks) {
    throw ConfigError(str("data.batch_size=", config.data.batch_size, " is the global batch, less than the ", ranks,
                          " ranks; take fewer ranks or a larger batch"));
  }
  train::check_reproducible(config, ranks);
  if (config.dist.backend == "self" && ranks > 1) {
    throw ConfigError(str("dist.backend=self with ", ranks, " ranks would train as many separate models; use auto"));
  }
  if (config.dist.backend == "nccl" && !gpus) throw ConfigError("dist.backend=nccl without GPUs; use mpi or auto");
}

// The nodes may see files that this machine does not: a refusal only where the job is sent off from here.
void check_files(const train::JobConfig& config, bool submit) {
  for (const auto& [key, path] :
       {std::pair{"data.file", config.data.file}, {"backbone.weights", config.backbone.weights}}) {
    if (path.empty() || fs::exists(path)) continue;
    const std::string message = str(key, "=", path, " is not there");
    if (submit) throw ConfigError(message + "; the job would end at once");
    std::cerr << "snell: warning: " << message << "\n";
  }
}

// The folder that holds slurm/common.sh: the source tree, or SNELL_ROOT.
std::string find_root() {
  std::vector<fs::path> candidates;
  if (const char* root = std::getenv("SNELL_ROOT"); root != nullptr && *root != '\0') candidates.emplace_back(root);
  for (const auto& folder : config::find_configs("").folders) candidates.push_back(folder.parent_path());
  for (const auto& folder : candidates) {
    if (fs::is_regular_file(folder / "slurm/common.sh")) return absolute(folder);
  }
  throw ConfigError(
      "slurm/common.sh, which batch scripts source, is not beside the configs; name the repository in SNELL_ROOT");
}

std::string find_program() {
  if (const char* program = std::getenv("SNELL_PROGRAM"); program != nullptr && *program != '\0')
    return absolute(program);
  return fs::read_symlink("/proc/self/exe").string();
}

BatchRequest request_of(const Options& o, const Jobs& jobs, const std::vector<std::string>& overrides,
                        const std::vector<std::string>& lines) {
  BatchRequest r = o.request;
  for (const auto& [option, text] :
       {std::pair{"--partition", r.partition}, {"--account", r.account}, {"--qos", r.qos}, {"--mem", r.memory}}) {
    check_word(option, text);
  }
  r.name = job_name(!o.name.empty() ? o.name : jobs.first.config.run.name);
  r.ranks_per_node = o.ranks_per_node.value_or(std::max<int64_t>(1, r.gpus_per_node));
  check_ranks(jobs.first.config, r);
  const int64_t longest = r.preemptible ? kLongerLead : kLongLead;
  const int64_t limit = r.time.empty() ? 0 : parse_time_limit(r.time);
  r.lead_s = o.lead.value_or(limit > 0 ? std::min(longest, limit / 4) : longest);
  if (limit > 0 && r.lead_s >= limit) {
    throw ConfigError(str("--signal-lead ", r.lead_s, " is not below --time ", r.time, " (", limit, " s)"));
  }
  if (r.kind == "sweep") r.array_size = static_cast<int64_t>(jobs.items.size());
  r.root = find_root();
  r.program = find_program();
  r.folder = fs::current_path().string();
  if (!o.config_dir.empty()) r.arguments = {"--config-dir", absolute(o.config_dir)};
  r.arguments.insert(r.arguments.end(), {"--run-dir", jobs.folder});
  for (const auto& line : lines) r.arguments.insert(r.arguments.end(), {"--line", line});
  for (const auto& text : overrides) {
    if (!names_folder(text)) r.arguments.push_back(text);
  }
  refuse_control_characters({r.root, r.program, r.folder});
  refuse_control_characters(r.arguments);
  return r;
}

int64_t submit(const std::string& script) {
  std::string path = (fs::temp_directory_path() / "snell-slurm-XXXXXX").string();
  const io::FileDescriptor file(::mkstemp(path.data()));
  core::check(file.get() >= 0, "no temporary file for the batch script");
  std::ofstream(path) << script;
  std::string said;
  FILE* sbatch = ::popen(("sbatch --parsable " + shell_word(path)).c_str(), "r");
  core::check(sbatch != nullptr, "no shell to start sbatch in");
  std::array<char, 256> buffer{};
  while (std::fgets(buffer.data(), buffer.size(), sbatch) != nullptr) said += buffer.data();
  const int status = ::pclose(sbatch);
  fs::remove(path);
  constexpr int kNotFound = 127;
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNotFound) {
    throw ConfigError("no sbatch on PATH: --submit works where Slurm is; --print writes the script anywhere");
  }
  static const std::regex kId(R"((\d+)(;.*)?\s*)");
  std::smatch found;
  if (status != 0 || !std::regex_match(said, found, kId))
    throw ConfigError("sbatch refused the job; its words stand above");
  return std::stoll(found[1]);
}

int run(Options o) {
  std::vector<std::string> overrides = o.words;
  if (!overrides.empty() && (overrides.front() == "train" || overrides.front() == "sweep")) {
    o.request.kind = overrides.front();
    overrides.erase(overrides.begin());
  }
  if (o.request.kind == "train" && !(o.lines.empty() && o.file.empty() && o.request.array_at_once == 0)) {
    throw ConfigError("--file, --line and --at-once belong to a sweep: snell slurm sweep …");
  }
  const std::vector<std::string> lines = sweep_lines(o);
  const Jobs jobs = make_jobs(o, overrides, lines);
  if (o.list) {
    for (size_t i = 0; i < jobs.items.size(); ++i) {
      std::cout << i << "  " << core::join(jobs.items[i].overrides, " ") << "\n";
    }
    return 0;
  }
  if (o.point) {
    const auto count = static_cast<int64_t>(jobs.items.size());
    if (*o.point >= count) throw ConfigError(str("there are ", count, " points, 0 to ", count - 1, "; not ", *o.point));
    const auto& item = jobs.items[static_cast<size_t>(*o.point)];
    refuse_control_characters(item.overrides);
    std::cout << item.folder << "\n";
    for (const auto& text : item.overrides) std::cout << text << "\n";
    return 0;
  }
  const BatchRequest request = request_of(o, jobs, overrides, lines);
  check_files(jobs.first.config, o.submit);
  const std::string script = batch_script(request);
  if (!o.submit) {
    std::cout << script;
    return 0;
  }
  const int64_t id = submit(script);
  std::cerr << "submitted " << request.name << ": " << request.nodes * request.ranks_per_node << " ranks on "
            << request.nodes << " node(s)";
  if (request.array_size > 0) std::cerr << ", " << request.array_size << " points";
  std::cerr << "; folder " << jobs.folder << "\n";
  std::cout << id << "\n";
  return 0;
}

void add_resources(CLI::App& command, Options& o) {
  BatchRequest& r = o.request;
  command.add_option("--nodes", r.nodes, "nodes of a job")->capture_default_str()->check(CLI::Range(1, 1 << 16));
  command.add_option("--gpus-per-node", r.gpus_per_node, "GPUs a node; a rank each")->check(CLI::Range(0, 64));
  command.add_option("--ranks-per-node", o.ranks_per_node, "default: the GPUs of a node, else 1")
      ->check(CLI::Range(1, 1 << 12));
  command.add_option("--cpus-per-rank", r.cpus_per_rank, "cores a rank; default: the site's")
      ->check(CLI::Range(1, 1 << 12));
  command.add_option("--mem", r.memory, "memory a node, as sbatch takes it, e.g. 64G");
  command.add_option("--time", r.time, "time limit, e.g. 12:00:00 or 2-00");
  command.add_option("--partition", r.partition, "where to run");
  command.add_option("--account", r.account, "who pays");
  command.add_option("--qos", r.qos, "quality of service");
  command.add_option("--name", o.name, "of the job; default: run.name");
  command
      .add_option("--signal-lead", o.lead,
                  "seconds before the time limit at which the run is asked to save and stop; default: 120 (300 with "
                  "--preemptible), at most a quarter of the time")
      ->check(CLI::Range(kShortestLead, int64_t{65535}));
  command.add_flag("--preemptible", r.preemptible, "return to the queue also after a hang or a lost node");
}

}  // namespace

void add_slurm(CLI::App& app, Action& chosen) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "slurm",
      "Write the batch script of a training, or of a sweep with a folder a point, and submit it (slurm/README.md).\n"
      "Examples:\n"
      "  snell slurm experiment=fgvc/snell32/cub --nodes 2 --gpus-per-node 4 --time 8:00:00 --print\n"
      "  snell slurm train experiment=fgvc/snell32/cub --gpus-per-node 4 --partition spare --preemptible --submit\n"
      "  snell slurm sweep experiment=vtab/snell32/cifar seed=0,1,2 optim.lr=1e-3,5e-4 --at-once 2 --submit\n"
      "  snell slurm sweep experiment=vtab/snell32/cifar --file jobs.txt --list");
  command->add_option("overrides", o->words,
                      "train (the default) or sweep, then group=option, key=value, +key=value, ~key; in a sweep "
                      "key=a,b,c");
  command->add_option("--config-dir", o->config_dir, "a folder of own configs, in front of the shipped ones");
  command->add_option("--run-dir", o->run_dir, "the run's or the sweep's folder, taken literally; as run.dir=");
  command->add_option("--file", o->file, "sweep: one job's overrides a line; # begins a comment");
  command->add_option("--line", o->lines, "sweep: such a line, in place of a file")
      ->take_all()
      ->allow_extra_args(false);
  command->add_option("--at-once", o->request.array_at_once, "sweep: points that run at a time")
      ->check(CLI::Range(1, 10000));
  add_resources(*command, *o);
  auto* print = command->add_flag("--print", o->print, "print the script (the default)");
  auto* submit = command->add_flag("--submit", o->submit, "hand it to sbatch; prints the job's id");
  auto* list = command->add_flag("--list", o->list, "print the points with their overrides");
  auto* point = command->add_option("--point", o->point, "print that point's folder and overrides, a line each")
                    ->check(CLI::NonNegativeNumber);
  for (CLI::Option* one : {print, submit, list, point}) {
    for (CLI::Option* other : {print, submit, list, point}) {
      if (one != other) one->excludes(other);
    }
  }
  command->callback([o, &chosen] { chosen = [o] { return run(*o); }; });
}

}  // namespace snell::apps
