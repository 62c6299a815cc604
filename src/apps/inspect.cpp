// snell inspect: what is inside a data set, a checkpoint, a run or a weight file, and whether it is whole.
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app.h"
#include "inspect.h"
#include "snell/ckpt/inspect.h"
#include "snell/ckpt/manifest.h"
#include "snell/ckpt/trained_file.h"
#include "snell/core/error.h"
#include "snell/data/dataset_file.h"
#include "snell/io/files.h"
#include "snell/io/tensor_source.h"
#include "snell/report/table.h"

namespace snell::apps {
namespace {

namespace fs = std::filesystem;
using core::ExitCode;
using core::str;
using nlohmann::ordered_json;

constexpr const char* kAccepted =
    "`snell inspect` reads a data set (.h5), a weight file (safetensors, also in shards; .npz; torch.save's), a "
    "checkpoint folder (with manifest.json), a run's folder (with config.yaml) or a model's (with model.safetensors or "
    "model.safetensors.index.json)";

struct Options {
  std::vector<std::string> what;  // a path; with `model`: overrides
  bool model = false;
  std::string config_dir;
  std::optional<int64_t> classes;
  bool json = false, no_verify = false;
};

Findings inspect_dataset(const std::string& path, bool verify) {
  const data::DatasetInfo info = data::describe_dataset(path);
  data::VerifyReport report;
  if (verify) report = data::verify_dataset(path);
  const data::VerifyReport* shown = verify ? &report : nullptr;
  return {data::dataset_text(info, shown), data::dataset_json(info, shown),
          report.sound() ? ExitCode::kOk : ExitCode::kData};
}

Findings inspect_checkpoint(const std::string& path, bool verify) {
  const ckpt::Inspection found = ckpt::inspect_checkpoint(path, verify);
  return {found.text, found.json, found.verified || !verify ? ExitCode::kOk : ExitCode::kWeights};
}

// One line of a run's table. A checkpoint without a readable manifest is damage too.
struct CheckpointLine {
  ordered_json json;
  bool damaged = false;
};

CheckpointLine inspect_line(const std::string& folder, bool verify) {
  CheckpointLine line;
  line.json = {{"name", fs::path(folder).filename().string()}};
  std::string state;
  try {
    const ckpt::Inspection found = ckpt::inspect_checkpoint(folder, verify);
    const ckpt::Manifest manifest = ckpt::read_manifest(folder);
    line.json["step"] = manifest.step;
    line.json["epoch"] = manifest.epoch;
    line.json["best"] = manifest.is_best;
    line.json["bytes"] = manifest.total_bytes();
    line.damaged = verify && !found.verified;
    state = line.damaged ? "DAMAGED: " + found.json.at("damage").get<std::string>()
            : verify     ? "verified"
                         : "not checked";
  } catch (const core::WeightsError& error) {
    line.damaged = true;
    state = str("DAMAGED: ", error.what());
  }
  line.json["state"] = io::printable(state);
  return line;
}

Findings inspect_run(const std::string& path, bool verify) {
  ckpt::CheckpointConfig config;
  const config::Composed composed = config::compose({{path}}, "config", {});
  if (const config::Node* section = composed.root.find("checkpoint")) {
    config::bind_section(*section, "checkpoint", config);
  }
  const std::string root = ckpt::checkpoint_root(path, config);
  Findings result;
  report::Table table({{"name", "checkpoint"},
                       {"step", "step"},
                       {"epoch", "epoch"},
                       {"best", "best"},
                       {"bytes", "bytes"},
                       {"state", "state"}});
  std::string latest;
  for (const std::string& folder : ckpt::checkpoint_folders(root)) {
    const CheckpointLine line = inspect_line(folder, verify);
    if (line.damaged) result.code = ExitCode::kWeights;
    if (!line.damaged && verify && latest.empty()) latest = folder;
    std::vector<nlohmann::json> cells;
    for (const auto& column : table.columns()) cells.push_back(line.json.value(column.key, nlohmann::json()));
    table.add(std::move(cells));
  }
  result.text = str("run           ", path, "\ncheckpoints   ", table.num_rows(), " in ", root, "\n");
  if (verify) result.text += str("to go on from ", latest.empty() ? "none" : latest, "\n");
  if (table.num_rows() > 0) result.text += table.text();
  result.json = {{"run", path}, {"checkpoint_root", root}, {"checkpoints", table.json()}};
  if (verify) result.json["latest_verified"] = latest.empty() ? ordered_json() : ordered_json(latest);
  return result;
}

// A trained file carries checksums; of another format's file all bytes are read, which finds what its format can tell.
std::string verify_weights(const io::TensorSource& source) {
  if (source.metadata().contains("snell.tensors")) {
    ckpt::import_trained(source.path());
    return "every checksum matches";
  }
  source.verify();
  return "every tensor can be read";
}

Findings inspect_weights(const std::string& path, bool verify) {
  const auto source = io::open_tensors(path);
  report::Table table({{"name", "tensor"}, {"dtype", "type"}, {"shape", "shape"}, {"bytes", "bytes"}});
  int64_t elements = 0, bytes = 0;
  ordered_json tensors = ordered_json::array();
  for (const std::string& name : source->names()) {
    const io::HostTensor tensor = source->describe(name);
    const int64_t size = io::byte_count(tensor.dtype, tensor.shape).value_or(0);
    elements += tensor.numel();
    bytes += size;
    table.add({io::printable(name), io::name_of(tensor.dtype), tensor.shape_text(), size});
    tensors.push_back({{"name", name}, {"dtype", io::name_of(tensor.dtype)}, {"shape", tensor.shape}, {"bytes", size}});
  }
  const std::string state = verify ? verify_weights(*source) : "not looked at";
  Findings result;
  result.text = str("weights       ", path, " (", source->format(), ")\ntensors       ", table.num_rows(), ", ",
                    report::with_separators(elements), " elements, ", core::human_bytes(static_cast<double>(bytes)),
                    "\ncontents      ", state, "\n");
  for (const auto& [key, value] : source->metadata()) {
    if (!key.starts_with("snell.")) result.text += str("metadata      ", io::printable(key + ": " + value), "\n");
  }
  result.text += table.text();
  result.json = {{"file", path},       {"format", source->format()},   {"num_tensors", table.num_rows()},
                 {"bytes", bytes},     {"elements", elements},         {"metadata", source->metadata()},
                 {"verified", verify}, {"tensors", std::move(tensors)}};
  return result;
}

Findings inspect(const std::string& path, bool verify) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) throw core::DataError(str("'", path, "' does not exist; ", kAccepted));
  if (error) throw core::DataError(str("cannot look at '", path, "': ", error.message()));
  if (fs::is_directory(status)) {
    if (fs::exists(path + "/" + ckpt::kManifestName, error)) return inspect_checkpoint(path, verify);
    if (fs::exists(path + "/config.yaml", error)) return inspect_run(path, verify);
    for (const char* name : {"model.safetensors", "model.safetensors.index.json"}) {
      if (fs::exists(str(path, "/", name), error)) return inspect_weights(path, verify);
    }
    throw core::DataError(str("the folder '", path, "' holds nothing that is known here; ", kAccepted));
  }
  if (data::looks_like_dataset(path)) return inspect_dataset(path, verify);
  return inspect_weights(path, verify);
}

Findings inspect_path(const Options& o) {
  if (o.what.size() != 1) throw core::ConfigError(str("name one file or folder, or take --model; ", kAccepted));
  return inspect(o.what.front(), !o.no_verify);
}

int run(const Options& o) {
  const Findings found = o.model ? inspect_model(o.what, o.config_dir, o.classes) : inspect_path(o);
  // Names come from files: bytes that are not UTF-8 are replaced.
  std::cout << (o.json ? found.json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n" : found.text);
  return static_cast<int>(found.code);
}

}  // namespace

void add_inspect(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "inspect",
      "Show what is inside a data set, a weight file, a checkpoint or a run's folder, and verify it; with\n"
      "--model: the layers of a config's model, their parameters and memory.\n"
      "Exit code 3: a damaged data set; 4: damaged weights or checkpoints.\n"
      "Example: snell inspect data/vtab/cifar.h5\n"
      "Example: snell inspect --model backbone=vit_base_patch16_224 adapter=snell8");
  command->add_option("what", options->what, "the file or folder; with --model: group=option, key=value, ...");
  command->add_flag("--model", options->model, "the model that a config describes, without making it");
  command->add_option("--classes", options->classes, "with --model: of the head (default: the data set's, else 1000)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command->add_option("--config-dir", options->config_dir, "with --model: a folder of own configs");
  command->add_flag("--json", options->json, "print JSON");
  command->add_flag("--no-verify", options->no_verify, "do not read all of it to check it");
  command->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace snell::apps
