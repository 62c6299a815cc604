#include "store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>

#include "snell/ckpt/manifest.h"
#include "snell/core/error.h"
#include "snell/core/log.h"
#include "snell/io/files.h"

namespace snell::ckpt {

namespace fs = std::filesystem;
using core::str;

static constexpr int kStepDigits = 10;
static constexpr std::string_view kUnfinished = ".tmp-";
static constexpr std::string_view kReplaced = ".old-";
static constexpr std::string_view kAbandoned = ".abandoned-";

std::string step_name(int64_t step) {
  char text[32];
  std::snprintf(text, sizeof text, "step-%0*lld", kStepDigits, static_cast<long long>(step));
  return text;
}

std::string unfinished_path(const std::string& root, int64_t step, const std::string& token) {
  return str(root, "/", step_name(step), kUnfinished, token);
}

void make_folder(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw core::DiskError(str("cannot create the folder ", path, ": ", error.message()));
}

void remove_folder(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) core::log_warning(str("cannot remove ", path, ": ", error.message()));
}

static void rename_path(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    throw core::DiskError(str("cannot rename ", from, " to ", to, ": ", std::strerror(errno)));
  }
}

// So that the renames in it survive a power cut.
static void flush_folder(const std::string& path) {
  const io::FileDescriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // EINVAL: a filesystem whose folders need no flushing.
  if (folder.get() < 0 || (::fsync(folder.get()) != 0 && errno != EINVAL)) {
    throw core::DiskError(str("cannot flush the folder ", path, ": ", std::strerror(errno)));
  }
}

// "step-0000000120<suffix>" → 120 and the suffix.
static std::optional<std::pair<int64_t, std::string>> parse_name(const std::string& name) {
  constexpr std::string_view kStep = "step-";
  if (!name.starts_with(kStep)) return std::nullopt;
  const size_t end = std::min(name.find_first_not_of("0123456789", kStep.size()), name.size());
  const std::string digits = name.substr(kStep.size(), end - kStep.size());
  if (digits.size() < kStepDigits || digits.size() > 18) return std::nullopt;
  return std::pair{static_cast<int64_t>(std::stoll(digits)), name.substr(end)};
}

static std::vector<std::pair<fs::path, std::pair<int64_t, std::string>>> step_folders(const std::string& root) {
  std::vector<std::pair<fs::path, std::pair<int64_t, std::string>>> found;
  std::error_code error;
  for (fs::directory_iterator it(root, error), end; !error && it != end; it.increment(error)) {
    std::error_code unreadable;
    auto parsed = parse_name(it->path().filename().string());
    if (parsed && it->is_directory(unreadable)) found.emplace_back(it->path(), *parsed);
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw core::WeightsError(str("cannot list the folder ", root, ": ", error.message()));
  }
  return found;
}

std::vector<Entry> list_checkpoints(const std::string& root) {
  std::vector<Entry> entries;
  for (const auto& [path, name] : step_folders(root)) {
    const bool replaced = name.second.starts_with(kReplaced);
    if (name.second.empty() || replaced) entries.push_back({path.string(), name.first, replaced});
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    if (a.step != b.step) return a.step > b.step;
    return a.replaced != b.replaced ? b.replaced : a.path < b.path;
  });
  return entries;
}

void remove_unfinished(const std::string& root) {
  for (const auto& [path, name] : step_folders(root)) {
    if (name.second.starts_with(kUnfinished)) remove_folder(path.string());
  }
}

void commit(const std::string& root, const std::string& tmp, int64_t step, const std::string& token) {
  const std::string path = str(root, "/", step_name(step));
  std::error_code ignored;
  if (fs::exists(path, ignored)) rename_path(path, str(path, kReplaced, token));
  rename_path(tmp, path);
  flush_folder(root);
}

// A folder that is being removed must not look like a damaged checkpoint to whoever comes after a crash.
static void discard(const std::string& path, const std::string& token) {
  const std::string gone = str(path, kUnfinished, token);
  rename_path(path, gone);
  remove_folder(gone);
}

// Whether every file has its size; `is_best` from the manifest. Full checksums are for reading.
static bool looks_whole(const Entry& entry, bool& is_best) {
  try {
    const Manifest manifest = read_manifest(entry.path);
    is_best = manifest.is_best;
    verify_sizes(entry.path, manifest);
    return true;
  } catch (const core::WeightsError&) {
    return false;
  }
}

void prune(const std::string& root, int64_t current, int64_t keep, bool keep_best, const std::string& token) {
  int64_t whole = 0;
  int64_t last_step = -1;
  bool have_best = false;
  for (const Entry& entry : list_checkpoints(root)) {
    if (entry.step > current) {
      rename_path(entry.path, str(entry.path, kAbandoned, token));
      core::log_warning(str(entry.path, " is of a later step than the run now has: renamed to *", kAbandoned, token,
                            "; remove it when it is not wanted"));
      continue;
    }
    const bool superseded = entry.replaced && entry.step == last_step;
    bool is_best = false;
    const bool good = !superseded && looks_whole(entry, is_best);
    if (good) last_step = entry.step;
    const bool best_one = good && is_best && keep_best && !have_best;
    have_best |= best_one;
    const bool kept = superseded ? false : whole < keep || best_one;
    whole += good;
    if (!kept) discard(entry.path, token);
  }
}

}  // namespace snell::ckpt
