// What a layout finds at the source: samples, splits, and everything that is wrong with them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "snell/data/convert.h"
#include "snell/data/dataset_writer.h"
#include "snell/data/sample_source.h"

namespace snell::data {

struct ListedSample {
  std::string name;  // relative to the source
  int64_t label = 0;
  Encoding encoding = Encoding::kFile;
  uint32_t height = 0, width = 0;
  std::span<const std::byte> pixels;  // of raw samples; a file's bytes are read when they are needed
  bool dropped = false;
};

class Listing {
 public:
  explicit Listing(const DatasetSchema& schema) : num_classes_(schema.num_classes), class_names(schema.class_names) {}

  // All that follows belongs to this split.
  void begin_split(const std::string& name);
  // An image file, `path` relative to `root`, itself relative to the source ("" for the source). One that another split
  // has too is kept once.
  void add_file(const std::string& root, const std::string& path, int64_t label);
  // Raw pixels; returns the sample's number, for splits that are drawn later.
  uint64_t add_raw(ListedSample sample);
  void add_index(uint64_t sample) { splits.back().indices.push_back(sample); }
  void problem(const std::string& path, const std::string& reason) { problems.push_back({path, reason}); }
  void set_num_classes(int64_t count) { num_classes_ = count; }
  // Whether the label is one of the classes; otherwise notes the problem.
  bool check_label(const std::string& name, int64_t label);

 private:
  int64_t num_classes_;
  std::map<std::string, uint64_t> by_name_;
  std::map<uint64_t, std::string> first_split_;  // of each sample, for messages
  std::vector<bool> in_split_;                   // samples of the current split

 public:
  std::vector<ListedSample> samples;
  std::vector<SplitEntry> splits;
  std::vector<std::string> class_names;
  std::vector<SkippedImage> problems;
  std::vector<std::shared_ptr<const void>> keep_alive;  // owns the raw pixels
};

// One function a layout; throws DataError when the source as a whole is not what the schema says.
Listing list_idx(const DatasetSchema& schema, const std::string& source);
Listing list_csv(const DatasetSchema& schema, const std::string& source);
Listing list_vtab(const DatasetSchema& schema, const std::string& source);
Listing list_fgvc(const DatasetSchema& schema, const std::string& source);
Listing list_imagefolder(const DatasetSchema& schema, const std::string& source);

// "…; how to get the data: <schema.source>" behind a message about a missing file.
std::string how_to_get(const DatasetSchema& schema);
// `name` or `name`.gz in `source`; throws DataError when neither is there.
std::string find_file(const DatasetSchema& schema, const std::string& source, const std::string& name);
// The class names of a source that has none: "0", "1", ...
std::vector<std::string> numbered_classes(int64_t count);

inline constexpr uint64_t kMaxSourceFile = uint64_t{8} << 30;  // of lists and tables, unpacked

}  // namespace snell::data
