// snell convert: a published data set into one HDF5 file.
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>

#include "app.h"
#include "snell/core/error.h"
#include "snell/core/version.h"
#include "snell/data/convert.h"
#include "snell/report/progress.h"

namespace snell::apps {
namespace {

struct Options {
  std::string schema, source, output;
  std::vector<std::string> settings;
  bool json = false;
};

// on_error=fail|skip and overwrite=true|false, in the style of config overrides.
void apply_setting(const std::string& setting, data::ConvertOptions& options) {
  if (setting == "on_error=skip") {
    options.on_error = data::OnError::kSkip;
  } else if (setting == "overwrite=true") {
    options.overwrite = true;
  } else if (setting != "on_error=fail" && setting != "overwrite=false") {
    throw core::ConfigError(core::str("unknown setting '", setting,
                                      "'; allowed: on_error=fail, on_error=skip, "
                                      "overwrite=true, overwrite=false"));
  }
}

int run(const Options& o) {
  data::ConvertOptions options;
  for (const auto& setting : o.settings) apply_setting(setting, options);
  options.created_by = "snell " + core::version();
  report::ProgressOptions shown;
  shown.log_every = std::numeric_limits<int64_t>::max();  // in a log by time only
  report::Progress progress(shown);
  options.progress = [&progress](int64_t done, int64_t total) {
    report::ProgressState state;
    state.phase = "convert";
    state.step = done;
    state.steps = total;
    progress.update(state);
  };
  const auto report = data::convert(data::load_schema(o.schema), o.source, o.output, options);
  progress.clear();
  std::cout << (o.json ? data::convert_json(report).dump(2) + "\n" : data::convert_text(report));
  return 0;
}

}  // namespace

void add_convert(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "convert",
      "Write a published data set as one HDF5 file.\nExample: snell convert datasets/vtab/cifar.yaml "
      "vtab-1k/cifar data/vtab/cifar.h5");
  command->add_option("schema", options->schema, "description of the data set (datasets/*.yaml)")->required();
  command->add_option("source", options->source, "its folder, or its file")->required();
  command->add_option("output", options->output, "the HDF5 file to write")->required();
  command->add_option("settings", options->settings, "on_error=skip, overwrite=true");
  command->add_flag("--json", options->json, "print the report as JSON");
  command->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace snell::apps
