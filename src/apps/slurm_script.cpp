#include "slurm_script.h"

#include <algorithm>
#include <regex>
#include <string_view>

#include "snell/core/error.h"

namespace snell::apps {
namespace {

using core::str;

constexpr size_t kMaxNameLength = 64;

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
}

}  // namespace

std::string shell_word(const std::string& text) {
  const auto is_safe = [](char c) {
    return is_plain(c) || std::string_view("/=,:+@%").find(c) != std::string_view::npos;
  };
  if (!text.empty() && std::all_of(text.begin(), text.end(), is_safe)) return text;
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

std::string job_name(const std::string& text) {
  std::string name;
  for (const char c : text.substr(0, kMaxNameLength)) name += is_plain(c) ? c : '_';
  if (name.empty() || name.front() == '-' || name.front() == '.') name = "_" + name;
  return name;
}

int64_t parse_time_limit(const std::string& text) {
  static const std::regex kMinutes(R"((\d{1,7})(?::([0-5]?\d))?)");
  static const std::regex kHours(R"((\d{1,5}):([0-5]?\d):([0-5]?\d))");
  static const std::regex kDays(R"((\d{1,4})-(\d{1,2})(?::([0-5]?\d))?(?::([0-5]?\d))?)");
  std::smatch found;
  const auto part = [&](size_t i) { return found[i].matched ? std::stoll(found[i].str()) : 0LL; };
  int64_t seconds = 0;
  if (std::regex_match(text, found, kMinutes)) {
    seconds = 60 * part(1) + part(2);
  } else if (std::regex_match(text, found, kHours)) {
    seconds = 3600 * part(1) + 60 * part(2) + part(3);
  } else if (std::regex_match(text, found, kDays)) {
    seconds = 86400 * part(1) + 3600 * part(2) + 60 * part(3) + part(4);
  } else {
    throw core::ConfigError(
        str("--time '", text, "' is no time limit; write minutes, H:M:S, D-H or D-H:M:S, e.g. 12:00:00"));
  }
  if (seconds < 60)
    throw core::ConfigError(str("--time '", text, "' is under a minute, which is Slurm's shortest limit"));
  return seconds;
}

std::string batch_script(const BatchRequest& r) {
  std::string out = "#!/usr/bin/env bash\n";
  out += str("# Written by `snell slurm ", r.kind, "`; slurm/README.md says what it does when.\n");
  const auto option = [&](const std::string& name, const auto& value) {
    const std::string text = str(value);
    if (!text.empty()) out += str("#SBATCH --", name, "=", text, "\n");
  };
  option("job-name", r.name);
  option("nodes", r.nodes);
  option("ntasks-per-node", r.ranks_per_node);
  if (r.gpus_per_node > 0) option("gpus-per-node", r.gpus_per_node);
  if (r.cpus_per_rank > 0) option("cpus-per-task", r.cpus_per_rank);
  option("mem", r.memory);
  option("time", r.time);
  option("partition", r.partition);
  option("account", r.account);
  option("qos", r.qos);
  if (r.array_size > 0) {
    option("array", str("0-", r.array_size - 1, r.array_at_once > 0 ? str("%", r.array_at_once) : ""));
  }
  option("signal", str("B:USR1@", r.lead_s));
  out += "#SBATCH --requeue\n#SBATCH --open-mode=append\n";
  option("output", r.array_size > 0 ? "slurm-%x-%A_%a.log" : "slurm-%x-%j.log");
  out += "set -euo pipefail\n";
  out += str("export SNELL_ROOT=", shell_word(r.root), "\n");
  out += str("export SNELL_PROGRAM=", shell_word(r.program), "\n");
  if (r.preemptible) out += "export SNELL_PREEMPTIBLE=1\n";
  out += str("cd ", shell_word(r.folder), "\n");
  out += "source \"$SNELL_ROOT/slurm/common.sh\"\n";
  out += str("snell_", r.kind);
  for (const auto& argument : r.arguments) out += str(" \\\n  ", shell_word(argument));
  return out + "\n";
}

}  // namespace snell::apps
