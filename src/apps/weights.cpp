// snell weights: weight files out of others, and of start values.
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app.h"
#include "snell/core/error.h"
#include "snell/core/text.h"
#include "snell/train/weight_files.h"

namespace snell::apps {
namespace {

using core::ConfigError;
using core::str;

struct Options {
  std::string source, output;
  std::vector<std::string> settings;
  std::string config_dir;
  bool overwrite = false, json = false;
};

void check_output(const Options& o) {
  if (o.overwrite || !std::filesystem::exists(o.output)) return;
  throw ConfigError(str(o.output, " is there already; choose another name, or --overwrite replaces it"));
}

int tell(const Options& o, const train::WrittenWeights& written) {
  if (o.json) {
    std::cout << nlohmann::ordered_json{{"file", o.output},
                                        {"tensors", written.tensors},
                                        {"converted", written.converted},
                                        {"bytes", written.bytes}}
                     .dump(2)
              << "\n";
  } else {
    std::cout << str(o.output, ": ", written.tensors, " tensors, ",
                     core::human_bytes(static_cast<double>(written.bytes)),
                     written.converted > 0 ? str("; ", written.converted, " converted") : "", "\n");
  }
  return 0;
}

// dtype=float32 and the like.
std::optional<at::ScalarType> dtype_of(const std::vector<std::string>& settings) {
  std::optional<at::ScalarType> out;
  for (const auto& setting : settings) {
    const bool known = setting.starts_with("dtype=");
    const std::string name = known ? setting.substr(6) : setting;
    if (known && name == "keep") continue;
    const bool allowed = name == "float32" || name == "float64" || name == "bfloat16" || name == "float16";
    if (!known || !allowed) {
      throw ConfigError(str("'", setting, "' is no setting of `snell weights convert`; allowed: dtype=keep, float32, ",
                            "float64, bfloat16, float16"));
    }
    train::RunConfig run;
    run.dtype = name;
    out = train::compute_dtype(run);
  }
  return out;
}

int convert(const Options& o) {
  const auto dtype = dtype_of(o.settings);
  check_output(o);
  return tell(o, train::convert_weights(*io::open_tensors(o.source), o.output, dtype));
}

int make(const Options& o) {
  check_output(o);
  std::vector<std::string> overrides{"data=imagefolder", "data.file=none", "run.dir=none"};
  overrides.insert(overrides.end(), o.settings.begin(), o.settings.end());
  return tell(o, train::write_start_weights(compose_job(o.config_dir, overrides).config, o.output));
}

}  // namespace

void add_weights(CLI::App& app, Action& chosen) {
  CLI::App* weights = app.add_subcommand("weights",
                                         "Write weight files.\n"
                                         "Example: snell weights convert ViT-B_16.npz ViT-B_16.safetensors");
  weights->require_subcommand(1);
  const auto add = [&](const char* name, const char* about, int (*action)(const Options&)) {
    auto o = std::make_shared<Options>();
    CLI::App* command = weights->add_subcommand(name, about);
    command->add_flag("--overwrite", o->overwrite, "replace the file where it is there");
    command->add_flag("--json", o->json, "print the result as JSON");
    command->callback([o, action, &chosen] { chosen = [o, action] { return action(*o); }; });
    return std::pair{command, o};
  };
  const auto [from_file, f] = add("convert",
                                  "Any file that backbones load as safetensors with timm's names and layouts, which "
                                  "backbone.frozen_storage=mapped can use where it stands.\n"
                                  "Example: snell weights convert mae_pretrain_vit_base.pth mae.safetensors",
                                  convert);
  from_file->add_option("source", f->source, "the weight file")->required();
  from_file->add_option("output", f->output, "the file to write")->required();
  from_file->add_option("settings", f->settings, "dtype=keep (default), float32, float64, bfloat16 or float16");
  const auto [from_seed, s] = add("make",
                                  "The start values of a backbone without weights (no head), tensor by tensor: a model "
                                  "larger than the memory, to try out what it takes.\n"
                                  "Example: snell weights make giant.safetensors backbone=vit_giant_patch14_224 seed=1",
                                  make);
  from_seed->add_option("output", s->output, "the file to write")->required();
  from_seed->add_option("settings", s->settings, "backbone=, seed=, run.dtype= and other settings of a run's config");
  from_seed->add_option("--config-dir", s->config_dir, "a folder of own configs, in front of the shipped ones");
}

}  // namespace snell::apps
