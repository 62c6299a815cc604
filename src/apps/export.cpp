// snell export: a run's model for other programs.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app.h"
#include "snell/core/version.h"
#include "snell/data/dataset_file.h"
#include "snell/report/table.h"
#include "snell/train/export.h"
#include "snell/train/trained_model.h"

namespace snell::apps {
namespace {

struct Options {
  std::string run_dir;
  WhichWeights which;
  std::vector<std::string> settings;
  bool json = false;
};

// What is asked for: to=, out=, type= and overwrite=; the other settings change the run's config.
struct Request {
  std::string to, out, type = "auto";
  bool overwrite = false;
  std::vector<std::string> overrides;
};

Request parse(const Options& o) {
  Request r;
  for (const std::string& setting : o.settings) {
    const std::string key = setting.substr(0, setting.find('='));
    const std::string value = key.size() < setting.size() ? setting.substr(key.size() + 1) : "";
    if (key == "to") {
      r.to = value;
    } else if (key == "out") {
      r.out = value;
    } else if (key == "type") {
      r.type = value;
    } else if (setting == "overwrite=true" || setting == "overwrite=false") {
      r.overwrite = value == "true";
    } else {
      r.overrides.push_back(setting);
    }
  }
  if (r.to.empty()) {
    throw core::ConfigError(core::str("say which format: to=", core::join(train::exporters().names(), "|")));
  }
  train::exporters().get(r.to);  // an unknown name is told before anything is loaded
  if (r.out.empty()) r.out = o.run_dir + "/export-" + r.to;
  return r;
}

// Merged into the weights as published, not as a run in 16 or 8 bits rounded them; the command line may ask for that.
void merge_into_published(train::JobConfig& config, const std::vector<std::string>& overrides) {
  const bool chosen = std::ranges::any_of(
      overrides, [](const std::string& text) { return text.starts_with("backbone.frozen_storage="); });
  const bool rounded = config.run.dtype != "float32" && config.run.dtype != "float64";
  if (!chosen && (rounded || config.backbone.frozen_storage != "mapped")) config.backbone.frozen_storage = "plain";
  if (rounded) config.run.dtype = "float32";
}

// The class names of the run's data, where its file is at hand.
std::vector<std::string> label_names(const data::DataConfig& config, int64_t num_classes) {
  if (!std::filesystem::exists(config.file)) return {};
  auto names = data::open_dataset(config.file, config.eval_split)->class_names();
  if (static_cast<int64_t>(names.size()) != num_classes) {
    throw core::DataError(core::str(config.file, " has ", names.size(), " classes, but the checkpoint was trained on ",
                                    num_classes, "; name the run's own data with data.file="));
  }
  return names;
}

int export_on(dist::ControlPlane& control, const Options& o) {
  Request request;
  Job job;
  control.all_or_none([&] {
    request = parse(o);
    job = job_of_run(o.run_dir, request.overrides);
    job.config.run.device = "cpu";
    merge_into_published(job.config, request.overrides);
  });
  const auto trained = train::load_trained(job.config, 0, o.which.checkpoint, control, o.which.weights);
  control.all_or_none([&] {
    if (!control.is_root()) return;
    const auto& head = trained.model.backbone->head_weight();
    const auto labels = label_names(job.config.data, head.size(0));
    std::map<std::string, std::string> metadata{{"config", job.json},
                                                {"version", core::version()},
                                                {"step", std::to_string(trained.step)},
                                                {"weights", o.which.weights}};
    if (!labels.empty()) metadata["label_names"] = nlohmann::json(labels).dump();
    const train::ExportInput input{job.config, trained.model, labels, metadata};
    const auto contents = train::exporters().get(request.to)(input, request.type);
    report::Table table({{"file", "file"}, {"bytes", "bytes"}});
    for (const auto& file : train::write_export(contents, request.out, request.overwrite)) {
      table.add({file, static_cast<int64_t>(std::filesystem::file_size(file))});
    }
    if (o.json) {
      std::cout << nlohmann::ordered_json{{"checkpoint", trained.checkpoint},
                                          {"to", request.to},
                                          {"note", contents.note},
                                          {"files", table.json()}}
                       .dump(2)
                << "\n";
    } else {
      std::cout << table.text() << (contents.note.empty() ? "" : contents.note + "\n");
    }
  });
  return 0;
}

}  // namespace

void add_export(CLI::App& app, Action& chosen) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "export",
      "Write a run's model for other programs.\n"
      "  to=timm         the adapters merged: timm.create_model(\"local-dir:FOLDER\", pretrained=True) loads it\n"
      "  to=peft         an adapter for peft (type=shira, lora), or the factors (type=snell); default: what is exact\n"
      "  to=safetensors  everything that was trained, and the sparsity of each layer\n"
      "  to=delta        of each adapted layer the entries that change\n"
      "Example: snell export runs/cifar to=timm out=cifar-vit");
  command->add_option("run", o->run_dir, "the run's folder")->required();
  command->add_option("settings", o->settings,
                      "to=FORMAT, out=FOLDER (default: RUN/export-FORMAT), type=, overwrite=true, and changes to the "
                      "run's config (backbone.weights=...)");
  add_checkpoint_options(*command, o->which);
  command->add_flag("--json", o->json, "print the result as JSON");
  command->callback(
      [o, &chosen] { chosen = [o] { return with_mpi([&](auto& control) { return export_on(control, *o); }); }; });
}

}  // namespace snell::apps
