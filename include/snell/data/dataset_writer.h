// Writes a data-set file (dataset_file.h): the tables are known first, then the samples' bytes arrive in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "snell/data/sample_source.h"

namespace snell::data {

struct DatasetHeader {
  std::string name, source, licence, created_by;
  std::vector<std::string> class_names;
};

struct SampleEntry {
  std::string name;
  int64_t label = 0;
  Encoding encoding = Encoding::kFile;
  uint32_t height = 0, width = 0;
  uint64_t num_bytes = 0;
};

struct SplitEntry {
  std::string name;
  std::vector<uint64_t> indices;  // into the samples
};

// The file appears under its name only with commit(); until then it has a temporary name beside it, which is removed
// when the writer goes out of scope. Throws DiskError; core::Error when tables and bytes do not agree.
class DatasetWriter {
 public:
  DatasetWriter(const std::string& path, const DatasetHeader& header, const std::vector<SampleEntry>& samples,
                std::vector<SplitEntry> splits);
  ~DatasetWriter();
  // The next sample's bytes, as many as its entry says.
  void add(std::span<const std::byte> bytes);
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace snell::data
