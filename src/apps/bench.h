// What the benchmarks of `snell bench` share.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "app.h"
#include "snell/config/override.h"
#include "snell/config/settings_table.h"

namespace snell::apps {

void add_bench_step(CLI::App& bench, Action& chosen);
void add_bench_layer(CLI::App& bench, Action& chosen);
void add_bench_growth(CLI::App& bench, Action& chosen);
void add_bench_chain(CLI::App& bench, Action& chosen);

// What one process of `snell bench step` does: makes the model of a row, says so, and makes one step each time it is
// asked, until nobody asks any more. Lines of JSON: on standard input a request, on standard output an answer.
int run_bench_row(const Job& job, int64_t num_classes);

// Of the lines that a row's process speaks and `snell bench step` reads.
inline constexpr const char* kStepRequest = "step";

double median(std::vector<double> values);

// A `key=value` setting of a benchmark as a node; "a,b" is short for "[a,b]" where the setting is a list. Throws
// ConfigError.
config::Override parse_setting(const std::string& text, const std::vector<config::FieldDoc>& fields);

// Reads the settings that `value` describes by its bind(); appends the others to `rest`, or refuses them where there is
// none. Throws ConfigError.
template <class T>
T read_settings(const std::vector<std::string>& settings, std::vector<std::string>* rest = nullptr) {
  T value;
  const auto fields = config::describe_section<T>("", value);
  config::Node root = config::Node::mapping({});
  for (const auto& text : settings) {
    const std::string key = text.substr(0, text.find('='));
    const bool known = std::ranges::any_of(fields, [&](const auto& field) { return field.key == key; });
    if (!known && rest != nullptr) {
      rest->push_back(text);
      continue;
    }
    const config::Override parsed = parse_setting(text, fields);
    root.set(parsed.key, *parsed.value);
  }
  config::bind_section(root, "", value);
  return value;
}

// The settings of a benchmark for its --help.
template <class T>
std::string settings_footer(const char* heading) {
  return std::string(heading) + "\n" + config::settings_text(config::describe_section<T>(""));
}

}  // namespace snell::apps
