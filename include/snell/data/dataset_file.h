// A data set in one HDF5 file: every image's encoded bytes, its label, its splits. Layout, version 1 (docs: README of
// datasets/); all types have a fixed size, all storage is contiguous and unfiltered:
//
//   /images/blob              u8  [bytes]     the samples' bytes, one after the other
//   /images/offsets           u64 [N + 1]     sample i is blob[offsets[i] : offsets[i + 1]]
//   /images/checksums         u64 [N, 2]      XXH3-128 (low, high word) of each sample
//   /images/block_checksums   u64 [., 2]      the same of each block of the blob (attribute block_bytes of /images)
//   /images/encoding          u8  [N]         data::Encoding
//   /images/height, width     u32 [N]
//   /images/labels            i64 [N]
//   /images/name_bytes        u8,  name_offsets u64 [N + 1]: the samples' paths at the source, UTF-8
//   /classes/name_bytes, /classes/name_offsets: the class names
//   /splits/<name>/indices    u64             numbers of samples; no sample twice
//   attributes of /: format, schema_version, name, source, licence, created_by, table_checksum (XXH3-128 over all of
//   the above but the blob)
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "snell/data/sample_source.h"

namespace snell::data {

inline constexpr uint64_t kDatasetSchemaVersion = 1;

struct SplitInfo {
  std::string name;
  int64_t size = 0;
  std::vector<int64_t> class_counts;  // [num_classes]
};

struct DatasetInfo {
  std::string file;
  std::string name, source, licence, created_by;
  uint64_t schema_version = 0;
  int64_t file_bytes = 0, blob_bytes = 0;
  int64_t num_samples = 0;
  int64_t num_encoded = 0, num_raw_grey = 0, num_raw_rgb = 0;  // samples by Encoding
  int64_t min_height = 0, max_height = 0, min_width = 0, max_width = 0;
  std::vector<std::string> class_names;
  std::vector<SplitInfo> splits;
};

struct VerifyReport {
  int64_t samples_checked = 0, blocks_checked = 0, bytes_checked = 0;
  std::vector<std::string> damaged_samples;  // their names
  std::vector<int64_t> damaged_blocks;       // their numbers
  bool sound() const { return damaged_samples.empty() && damaged_blocks.empty(); }
};

// Whether the file starts as an HDF5 file does; false for a file that cannot be read.
bool looks_like_dataset(const std::string& file);

// Opens a split for reading. All tables are read, checked against their checksum and held in memory (about 60 bytes and
// the path a sample); the images' bytes are read by pread() on demand, without HDF5 and from any number of threads.
// Throws DataError for anything that is missing, damaged or out of range, and for an unknown split.
std::unique_ptr<SampleSource> open_dataset(const std::string& file, const std::string& split);

// What is inside. Throws DataError as open_dataset() does.
DatasetInfo describe_dataset(const std::string& file);
// Reads all of it and compares every checksum; damage to the images is in the report, damage to the tables is thrown.
VerifyReport verify_dataset(const std::string& file);

// For people and for --json. `report` may be null: then only what is inside is told.
std::string dataset_text(const DatasetInfo& info, const VerifyReport* report = nullptr);
nlohmann::json dataset_json(const DatasetInfo& info, const VerifyReport* report = nullptr);

}  // namespace snell::data
