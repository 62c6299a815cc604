// The text of a batch script for Slurm.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace snell::apps {

struct BatchRequest {
  std::string kind = "train";  // train, sweep
  std::string name = "snell";  // of the job
  int64_t nodes = 1;
  int64_t ranks_per_node = 1;
  int64_t gpus_per_node = 0;
  int64_t cpus_per_rank = 0;  // 0: not said, the site's default
  std::string time;           // as Slurm writes it; "": the partition's default
  std::string partition, account, qos, memory;
  int64_t lead_s = 120;                // the signal to save comes so long before the end
  bool preemptible = false;            // returns to the queue also after a hang or a lost node
  int64_t array_size = 0;              // tasks of the array; 0: no array
  int64_t array_at_once = 0;           // of these at a time; 0: no limit
  std::string root, program;           // the repository, and this program
  std::string folder;                  // where the command was typed: relative paths start there
  std::vector<std::string> arguments;  // of snell_train or snell_sweep in slurm/common.sh
};

// One word of a shell's command line, whatever the text holds.
std::string shell_word(const std::string& text);

// The text with '_' in place of what a job's name should not hold; at most 64 characters.
std::string job_name(const std::string& text);

// Seconds of a time limit as Slurm writes it: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S. Throws ConfigError.
int64_t parse_time_limit(const std::string& text);

std::string batch_script(const BatchRequest& request);

}  // namespace snell::apps
