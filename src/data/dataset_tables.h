// Everything in a data-set file but the images' bytes, as it lies in the file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "snell/core/hash.h"
#include "snell/data/dataset_writer.h"
#include "snell/io/hdf5.h"

namespace snell::data {

// Texts one after the other: a text of variable length in HDF5 can crash its reader.
struct TextTable {
  std::vector<uint8_t> bytes;
  std::vector<uint64_t> offsets{0};

  void add(std::string_view text);
  size_t size() const { return offsets.size() - 1; }
  std::string at(size_t i) const;
};

struct DatasetTables {
  std::string name, source, licence, created_by;
  uint64_t block_bytes = 1 << 20;
  std::vector<uint64_t> offsets;          // [N + 1]
  std::vector<uint64_t> checksums;        // [N, 2]
  std::vector<uint64_t> block_checksums;  // [blocks, 2]
  std::vector<uint8_t> encoding;          // [N]
  std::vector<uint32_t> height, width;    // [N]
  std::vector<int64_t> labels;            // [N]
  TextTable names, classes;
  std::vector<SplitEntry> splits;

  size_t num_samples() const { return labels.size(); }
  uint64_t blob_bytes() const { return offsets.back(); }
  core::Hash128 checksum() const;

  // Writes all but the blob.
  void write(io::Hdf5File& file) const;
  // Reads and checks everything: shapes, ranges, the checksum. Throws DataError.
  static DatasetTables read(const io::Hdf5File& file);
};

}  // namespace snell::data
