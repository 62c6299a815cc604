// A data set's split as numbered samples: labels in memory, image bytes read on demand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace snell::data {

enum class Encoding : uint8_t {
  kFile = 0,     // the bytes of a JPEG, PNG or WebP file
  kRawGrey = 1,  // height × width bytes
  kRawRgb = 2,   // height × width × 3 bytes
};

struct Sample {
  Encoding encoding = Encoding::kFile;
  int64_t height = 0, width = 0;  // of raw pixels; 0 for kFile
  std::vector<std::byte> bytes;
};

// Thread-safe for reading: worker threads share one source.
class SampleSource {
 public:
  virtual ~SampleSource() = default;
  virtual int64_t size() const = 0;
  virtual int64_t num_classes() const = 0;
  virtual const std::vector<std::string>& class_names() const = 0;
  virtual int64_t label(int64_t index) const = 0;
  // What errors and reports call the sample: its path at the source.
  virtual std::string name(int64_t index) const = 0;
  // Reads and verifies the checksum; throws DataError that names the file and the sample.
  virtual Sample read(int64_t index) const = 0;
};

}  // namespace snell::data
