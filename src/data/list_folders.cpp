// ImageFolder: <split>/<class>/…/<image>, as torchvision reads it. Classes are numbered by their sorted names.
#include <algorithm>
#include <filesystem>
#include <set>

#include "listing.h"
#include "snell/core/error.h"

namespace snell::data {

using core::DataError;
using core::str;
namespace fs = std::filesystem;

static std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(folder)) out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

// Every file below a class's folder, whatever its name: what is no image must be named, not passed over.
static void add_folder(const fs::path& source, const fs::path& folder, int64_t label, Listing& listing) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_directory() && !entry.is_symlink()) continue;
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) listing.add_file("", fs::relative(file, source).string(), label);
}

Listing list_imagefolder(const DatasetSchema& schema, const std::string& source) {
  std::vector<const SplitSchema*> present;
  std::set<std::string> names;
  for (const SplitSchema& split : schema.splits) {
    const fs::path folder = fs::path(source) / split.folder;
    if (!fs::is_directory(folder)) {
      if (split.optional) continue;
      throw DataError(
          str("the folder of split ", split.name, ", '", folder.string(), "', is missing", how_to_get(schema)));
    }
    present.push_back(&split);
    for (const fs::path& entry : sorted_entries(folder)) {
      if (fs::is_directory(entry)) names.insert(entry.filename().string());
    }
  }
  if (present.empty()) {
    throw DataError(
        str("'", source, "' has none of the split folders that ", schema.file, " names", how_to_get(schema)));
  }
  if (schema.num_classes > 0 && std::ssize(names) != schema.num_classes) {
    throw DataError(
        str("'", source, "' has ", names.size(), " class folders, ", schema.file, " says ", schema.num_classes));
  }
  const std::vector<std::string> classes(names.begin(), names.end());
  Listing listing(schema);
  listing.set_num_classes(std::ssize(classes));
  if (listing.class_names.empty()) listing.class_names = classes;
  for (const SplitSchema* split : present) {
    listing.begin_split(split->name);
    for (const fs::path& entry : sorted_entries(fs::path(source) / split->folder)) {
      const std::string name = entry.filename().string();
      if (!fs::is_directory(entry)) {
        listing.problem(fs::relative(entry, source).string(), "it lies outside of the class folders");
        continue;
      }
      const auto label = std::lower_bound(classes.begin(), classes.end(), name) - classes.begin();
      add_folder(source, entry, label, listing);
    }
  }
  return listing;
}

}  // namespace snell::data
