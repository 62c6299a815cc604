// snell bench: what a training step and a layer cost.
#include "bench.h"

#include <algorithm>

#include "snell/core/error.h"

namespace snell::apps {

double median(std::vector<double> values) {
  core::check(!values.empty(), "the median of nothing");
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

config::Override parse_setting(const std::string& text, const std::vector<config::FieldDoc>& fields) {
  const size_t equals = text.find('=');
  const std::string key = text.substr(0, equals);
  const bool is_list = std::ranges::any_of(
      fields, [&](const auto& field) { return field.key == key && field.type.find("list of") != std::string::npos; });
  const bool bare = is_list && equals != std::string::npos && text.find('[') == std::string::npos;
  config::Override parsed = config::parse_override(bare ? key + "=[" + text.substr(equals + 1) + "]" : text);
  if (parsed.kind != config::Override::Kind::kChange || !parsed.value) {
    throw core::ConfigError(core::str("'", text, "' is no setting of this benchmark; write key=value"));
  }
  return parsed;
}

void add_bench(CLI::App& app, Action& chosen) {
  CLI::App* bench = app.add_subcommand("bench",
                                       "Time and memory of a training step, of a layer, and how a layer's grow.\n"
                                       "Example: snell bench step rows=full,snell");
  bench->require_subcommand(1);
  add_bench_step(*bench, chosen);
  add_bench_layer(*bench, chosen);
  add_bench_growth(*bench, chosen);
  add_bench_chain(*bench, chosen);
}

}  // namespace snell::apps
