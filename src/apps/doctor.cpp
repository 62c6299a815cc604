// snell doctor: whether this machine, and these ranks together, can train; what is wrong, in words.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <torch/version.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "app.h"
#include "snell/core/error.h"
#include "snell/core/instruction_set.h"
#include "snell/core/signals.h"
#include "snell/core/version.h"
#include "snell/dist/config.h"
#include "snell/dist/mpi.h"
#include "snell/io/files.h"
#include "snell/io/hdf5.h"
#include "snell/peft/fused.h"

namespace snell::apps {
namespace {

namespace fs = std::filesystem;
using core::str;
using nlohmann::ordered_json;

constexpr double kLittleSpace = 1e9;  // bytes: a few checkpoints of a ViT-B's adapters

struct Options {
  std::string dir = "runs";
  bool json = false;
};

enum class Status { kOk, kWarn, kFail };  // ordered by badness
constexpr const char* kStatusNames[] = {"ok", "warn", "fail"};

struct Outcome {
  Status status = Status::kOk;
  std::string text;
};

struct Check {
  std::string name;
  Outcome outcome;
};

// `probe` on this rank; what it throws is its failure.
Outcome outcome_of(const std::function<Outcome()>& probe) {
  try {
    return probe();
  } catch (const std::exception& error) {
    return {Status::kFail, error.what()};
  }
}

// A check that calls no collectives: runs on every rank; the worst answer counts, and names its rank.
Check check_each(const std::string& name, dist::ControlPlane& control, const std::function<Outcome()>& probe) {
  const Outcome mine = outcome_of(probe);
  const auto statuses = control.all_gather_ints(static_cast<int64_t>(mine.status));
  const auto texts = control.all_gather_strings(mine.text);
  const auto hosts = control.all_gather_strings(dist::ControlPlane::hostname());
  const auto worst = static_cast<size_t>(std::max_element(statuses.begin(), statuses.end()) - statuses.begin());
  const std::string place = worst == 0 ? "" : str("rank ", worst, " on ", hosts[worst], ": ");
  return {name, {static_cast<Status>(statuses[worst]), place + texts[worst]}};
}

// A check that all ranks make together. Only an error that all of them agreed on can be told as a failure: after any
// other the ranks are no longer at the same place.
Check check_together(const std::string& name, const std::function<Outcome()>& probe) {
  try {
    return {name, probe()};
  } catch (const dist::AgreedError& error) {
    return {name, {Status::kFail, error.what()}};
  }
}

Outcome probe_mpi(dist::ControlPlane& control) {
  const auto versions = control.all_gather_strings(core::version());
  const auto libraries = control.all_gather_strings(dist::mpi_version());
  const int64_t nodes = control.sum(control.local_rank() == 0 ? 1 : 0);
  for (size_t rank = 1; rank < versions.size(); ++rank) {
    if (versions[rank] == versions[0] && libraries[rank] == libraries[0]) continue;
    return {Status::kFail,
            str("rank ", rank, " runs snell ", versions[rank], " with ", libraries[rank], ", but rank 0 runs snell ",
                versions[0], " with ", libraries[0], "; start the same program with the same MPI everywhere")};
  }
  // MpiSession refuses to start with less than MPI_THREAD_MULTIPLE.
  return {Status::kOk, str(libraries[0], "; ", control.size(), control.size() == 1 ? " rank" : " ranks", " on ", nodes,
                           nodes == 1 ? " node" : " nodes", ", MPI_THREAD_MULTIPLE")};
}

Outcome probe_all_reduce(dist::ControlPlane& control, c10::Device device) {
  const auto communicator = dist::make_communicator({}, control, device, "doctor");
  const int64_t size = control.size();
  const at::Tensor values = at::full({1000}, control.rank() + 1, at::TensorOptions(at::kFloat).device(device));
  communicator->all_reduce(values, dist::ReduceOp::kSum);
  const bool right = values.eq(static_cast<double>(size * (size + 1) / 2)).all().item<bool>();
  if (!control.all_agree(right)) {
    return {Status::kFail, str("a sum over ", size, " ranks through '", communicator->name(),
                               "' came out wrong; the transport or its driver is broken, do not train with it")};
  }
  return {Status::kOk, str("a sum over ", size, size == 1 ? " rank" : " ranks", " through '", communicator->name(),
                           "' on ", device.str(), " is right")};
}

Outcome probe_hdf5() {
  const io::PendingFile file((fs::temp_directory_path() / str("snell-doctor-", ::getpid(), ".h5")).string());
  const std::vector<int64_t> written{3, 1, 4, 1, 5};
  io::Hdf5File writer = io::Hdf5File::create(file.temporary());
  writer.write<int64_t>("values", written);
  writer.close();
  const auto reader = io::Hdf5File::open(file.temporary(), io::raise_data_error);
  const std::string version = io::hdf5_version();
  if (reader.read<int64_t>("values", {written.size()}) != written) {
    return {Status::kFail, str("HDF5 ", version, ": a file reads back other values than were written")};
  }
  return {Status::kOk, str("HDF5 ", version, ": a file was written and read back")};
}

// Small whole numbers: exact in float32, so that any order of summation must give the very same.
bool product_is_right(c10::Device device) {
  const at::Tensor a_MK = at::arange(96 * 64).remainder(7).view({96, 64});
  const at::Tensor b_KN = at::arange(64 * 80).remainder(5).view({64, 80});
  const at::Tensor expected_MN = (a_MK.unsqueeze(2) * b_KN.unsqueeze(0)).sum(1);
  const at::Tensor product_MN = at::matmul(a_MK.to(device, at::kFloat), b_KN.to(device, at::kFloat));
  return at::equal(product_MN.to(at::kCPU, at::kLong), expected_MN);
}

Outcome probe_torch(int local_size) {
  if (!product_is_right(at::kCPU)) {
    return {Status::kFail, str("LibTorch ", TORCH_VERSION, ": a matrix product on the CPU came out wrong")};
  }
  return {Status::kOk, str("LibTorch ", TORCH_VERSION, ": a matrix product is right; ", at::get_num_threads(),
                           " threads by default, ", core::name_of(core::best_instruction_set()), " kernels, ",
                           std::thread::hardware_concurrency(), " cores for this process, ", local_size,
                           local_size == 1 ? " rank" : " ranks", " on the node")};
}

Outcome probe_gpu(int local_rank, int local_size) {
  if (!dist::has_nccl()) return {Status::kOk, "not used: this is a CPU build (SNELL_CUDA=OFF)"};
  const int64_t gpus = at::hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0;
  if (gpus == 0) {
    return {Status::kWarn,
            "this build has CUDA, but LibTorch sees no GPU (driver, CUDA_VISIBLE_DEVICES, --gres?); "
            "run.device=auto trains on the CPU"};
  }
  if (local_size > gpus) {
    return {Status::kWarn, str(local_size, " ranks on a node with ", gpus,
                               " GPUs, one a rank is needed; run.device=auto trains on the CPU")};
  }
  const c10::Device device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(local_rank));
  if (!product_is_right(device)) return {Status::kFail, str("a matrix product on ", device.str(), " came out wrong")};
  if (!peft::cuda_kernels_agree()) {
    return {Status::kWarn, str("the fused kernels differ from LibTorch's operations on ", device.str(),
                               " (the warning above says where), so the slower operations serve; please report it")};
  }
  return {Status::kOk,
          str(gpus, gpus == 1 ? " GPU" : " GPUs", " on the node; a matrix product and the fused kernels are right")};
}

Outcome probe_nccl() {
  return {Status::kOk, dist::has_nccl() ? "compiled in" : "not compiled in (SNELL_CUDA=OFF); ranks talk through MPI"};
}

// The folder itself, or the first one above it that exists: nothing but the probe is created.
fs::path existing_folder(const std::string& dir) {
  fs::path folder = fs::absolute(dir).lexically_normal();
  while (!fs::exists(folder) && folder.has_relative_path()) folder = folder.parent_path();
  if (!fs::is_directory(folder)) throw core::ConfigError(str(folder.string(), " is not a folder"));
  return folder;
}

// Rank 0 writes as the runs are written (temporary name, flush, rename); every rank must see the file.
Outcome probe_run_folder(dist::ControlPlane& control, const std::string& dir) {
  const std::string folder = control.root_decides([&dir] { return existing_folder(dir).string(); });
  const std::string probe = control.root_decides([&folder] {
    const std::string path = str(folder, "/.snell-doctor-", dist::ControlPlane::hostname(), "-", ::getpid());
    io::write_file(path, "probe\n");
    return path;
  });
  std::error_code error;
  const auto seen = control.all_gather_ints(fs::exists(probe, error) ? 1 : 0);
  const double free = std::stod(control.root_decides([&probe, &folder] {
    fs::remove(probe);
    return str(fs::space(folder).available);
  }));
  const auto blind = std::find(seen.begin(), seen.end(), 0);
  if (blind != seen.end()) {
    return {Status::kFail, str("rank ", blind - seen.begin(), " does not see what rank 0 writes to ", folder,
                               "; runs need a folder that all nodes share: choose one with run.dir")};
  }
  const std::string space = core::human_bytes(free);
  if (free < kLittleSpace) return {Status::kWarn, str(folder, " has only ", space, " free; checkpoints may not fit")};
  return {Status::kOk, str(folder, ": a file was written, renamed and seen by every rank; ", space, " free")};
}

Outcome probe_configs() {
  const config::ConfigSearchPath path = config::find_configs();
  std::vector<std::string> folders;
  for (const auto& folder : path.folders) folders.push_back(folder.string());
  if (!path.find("config")) return {Status::kFail, str("no config.yaml in ", core::join(folders))};
  return {Status::kOk, str(core::join(folders), ": ", core::join(path.groups()))};
}

Outcome probe_signals() {
  core::catch_signals();
  if (std::raise(SIGUSR1) != 0 || core::stop_signal() != SIGUSR1) {
    return {Status::kFail, "SIGUSR1 did not arrive: a run could not save itself at the end of its time"};
  }
  core::clear_stop_signal();
  return {Status::kOk, "SIGUSR1 arrives; USR1, USR2, TERM and INT make a run save and stop"};
}

std::vector<Check> run_checks(dist::ControlPlane& control, const std::string& dir) {
  std::vector<Check> checks;
  checks.push_back(check_together("MPI", [&] { return probe_mpi(control); }));
  checks.push_back(check_each("HDF5", control, probe_hdf5));
  checks.push_back(check_each("LibTorch", control, [&] { return probe_torch(control.local_size()); }));
  checks.push_back(check_each("GPU", control, [&] { return probe_gpu(control.local_rank(), control.local_size()); }));
  checks.push_back(check_each("NCCL", control, probe_nccl));
  checks.push_back(
      check_together("all-reduce", [&] { return probe_all_reduce(control, dist::choose_device("auto", control)); }));
  checks.push_back(check_together("run folder", [&] { return probe_run_folder(control, dir); }));
  checks.push_back(check_each("configs", control, probe_configs));
  checks.push_back(check_each("signals", control, probe_signals));
  return checks;
}

// Prints, and gives the exit code.
int tell(const std::vector<Check>& checks, bool as_json, bool print) {
  Status worst = Status::kOk;
  ordered_json list = ordered_json::array();
  std::string text;
  for (const auto& [name, outcome] : checks) {
    const char* status = kStatusNames[static_cast<int>(outcome.status)];
    worst = std::max(worst, outcome.status);
    list.push_back({{"check", name}, {"status", status}, {"text", outcome.text}});
    text += str(std::string(status).append(6 - std::string(status).size(), ' '), name,
                std::string(12 - name.size(), ' '), outcome.text, "\n");
  }
  if (print && as_json) {
    const ordered_json all{{"version", core::version()}, {"ok", worst != Status::kFail}, {"checks", list}};
    std::cout << all.dump(2, ' ', false, ordered_json::error_handler_t::replace) << std::endl;
  } else if (print) {
    std::cout << "snell " << core::version() << "\n" << text << std::flush;
  }
  return worst == Status::kFail ? 1 : 0;
}

int run(const Options& o) {
  try {
    return with_mpi(
        [&o](dist::ControlPlane& control) { return tell(run_checks(control, o.dir), o.json, control.is_root()); });
  } catch (const core::Error& error) {  // MPI itself did not start
    return tell({{"MPI", {Status::kFail, error.what()}}}, o.json, true);
  }
}

}  // namespace

void add_doctor(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("doctor",
                         "Check MPI, HDF5, LibTorch, GPU, NCCL and the folder of the runs, and say what is wrong.\n"
                         "Exit code 1 when a check failed.\nExample: mpirun -np 2 snell doctor --dir runs");
  command->add_option("--dir", options->dir, "where runs are to be written")->capture_default_str();
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace snell::apps
