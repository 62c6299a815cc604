#include "listing.h"

#include <algorithm>
#include <filesystem>

#include "snell/core/error.h"

namespace snell::data {

using core::str;
namespace fs = std::filesystem;

// Lists come from elsewhere: a path in one must not lead out of the data set's folder.
static bool is_safe(const std::string& path) {
  if (path.empty() || path.size() > 4096 || path.front() == '/') return false;
  if (std::any_of(path.begin(), path.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; })) return false;
  const fs::path parts(path);
  return std::none_of(parts.begin(), parts.end(), [](const fs::path& part) { return part == ".."; });
}

void Listing::begin_split(const std::string& name) {
  splits.push_back({name, {}});
  in_split_.assign(samples.size(), false);
}

bool Listing::check_label(const std::string& name, int64_t label) {
  if (label >= 0 && label < num_classes_) return true;
  problem(name, str("its label ", label, " is not one of the classes 0 to ", num_classes_ - 1));
  return false;
}

void Listing::add_file(const std::string& root, const std::string& path, int64_t label) {
  if (!is_safe(path))
    return problem(path, "the path is empty, too long, absolute, or leads out of the data set's folder");
  const std::string name = (fs::path(root) / path).lexically_normal().string();
  if (!check_label(name, label)) return;
  const auto [found, is_new] = by_name_.emplace(name, samples.size());
  const uint64_t index = found->second;
  const std::string& split = splits.back().name;
  if (is_new) {
    samples.push_back({name, label, Encoding::kFile, 0, 0, {}, false});
    first_split_[index] = split;
    in_split_.push_back(false);
  } else if (samples[index].label != label) {
    samples[index].dropped = true;  // nobody can tell which label is right
    return problem(name, str("it has the label ", samples[index].label, " in split ", first_split_[index], " and ",
                             label, " in split ", split));
  }
  if (in_split_[index]) return problem(name, str("it is listed twice in split ", split));
  in_split_[index] = true;
  add_index(index);
}

uint64_t Listing::add_raw(ListedSample sample) {
  sample.dropped = !check_label(sample.name, sample.label);
  samples.push_back(std::move(sample));
  return samples.size() - 1;
}

std::string how_to_get(const DatasetSchema& schema) {
  return str("; how to get the data: ", schema.source);
}

std::string find_file(const DatasetSchema& schema, const std::string& source, const std::string& name) {
  for (const char* ending : {"", ".gz"}) {
    const fs::path path = fs::path(source) / (name + ending);
    if (fs::is_regular_file(path)) return path.string();
  }
  throw core::DataError(
      str("'", (fs::path(source) / name).string(), "' (or the same with .gz) is missing", how_to_get(schema)));
}

std::vector<std::string> numbered_classes(int64_t count) {
  std::vector<std::string> names;
  for (int64_t i = 0; i < count; ++i) names.push_back(std::to_string(i));
  return names;
}

}  // namespace snell::data
