// The folder of checkpoints: which are there, which are whole, which may go.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace snell::ckpt {

struct Entry {
  std::string path;
  int64_t step = 0;
  // A checkpoint that a newer one of the same step was about to replace: it counts when that one is not there.
  bool replaced = false;
};

std::string step_name(int64_t step);  // "step-0000000120"

std::string unfinished_path(const std::string& root, int64_t step, const std::string& token);

// With its parents. Throws DiskError.
void make_folder(const std::string& path);

// Failing to remove is a warning.
void remove_folder(const std::string& path);

// Committed checkpoints under `root`, newest first; of one step the one in place first.
std::vector<Entry> list_checkpoints(const std::string& root);

// Removes the unfinished folders of runs that died.
void remove_unfinished(const std::string& root);

// Renames <tmp> to the step's name; what had that name is set aside first, so that a whole one exists at every moment.
// Flushes the root. Throws DiskError.
void commit(const std::string& root, const std::string& tmp, int64_t step, const std::string& token);

// After `current` was committed: sets later steps aside, removes what is beyond the newest `keep` and the newest best.
void prune(const std::string& root, int64_t current, int64_t keep, bool keep_best, const std::string& token);

}  // namespace snell::ckpt
