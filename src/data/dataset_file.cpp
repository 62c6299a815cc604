#include "snell/data/dataset_file.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "dataset_tables.h"
#include "snell/core/error.h"
#include "snell/io/files.h"

namespace snell::data {

using core::DataError;
using core::str;

namespace {

// The tables in memory and the blob by pread().
class Dataset {
 public:
  explicit Dataset(const std::string& file)
      : file_(file), descriptor_(io::open_for_reading(file, io::raise_data_error)) {
    if (!looks_like_dataset(file)) {
      throw DataError(str("'", file, "' is not an HDF5 file; make one with 'snell convert'"));
    }
    const io::Hdf5File hdf5 = io::Hdf5File::open(file, io::raise_data_error);
    tables_ = DatasetTables::read(hdf5);
    blob_ = hdf5.bytes_extent("images/blob");
  }

  const std::string& file() const { return file_; }
  const DatasetTables& tables() const { return tables_; }
  uint64_t file_bytes() const { return io::size_of_file(descriptor_, file_, io::raise_data_error); }

  // Bytes [begin, end) of the blob.
  void read(uint64_t begin, uint64_t end, std::vector<std::byte>& bytes) const {
    core::check(begin <= end && end <= blob_.size, "a read beyond the images");
    bytes.resize(end - begin);
    size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t got = ::pread(descriptor_.get(), bytes.data() + done, bytes.size() - done,
                                  static_cast<off_t>(blob_.offset + begin + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw DataError(str("cannot read '", file_, "': ", std::strerror(errno)));
      if (got == 0)
        throw DataError(str("'", file_, "' became shorter while it was in use; convert the data set again"));
      done += static_cast<size_t>(got);
    }
  }

  // False when the sample's bytes do not match their checksum.
  bool read_sample(size_t i, std::vector<std::byte>& bytes) const {
    read(tables_.offsets[i], tables_.offsets[i + 1], bytes);
    return core::hash128(bytes) == core::Hash128{tables_.checksums[2 * i], tables_.checksums[2 * i + 1]};
  }

 private:
  std::string file_;
  io::FileDescriptor descriptor_;
  DatasetTables tables_;
  io::Hdf5Extent blob_;
};

class DatasetSource : public SampleSource {
 public:
  DatasetSource(const std::string& file, const std::string& split) : dataset_(file) {
    const DatasetTables& t = dataset_.tables();
    for (size_t c = 0; c < t.classes.size(); ++c) class_names_.push_back(t.classes.at(c));
    std::vector<std::string> known;
    for (const SplitEntry& entry : t.splits) {
      known.push_back(entry.name);
      if (entry.name == split) indices_ = &entry.indices;
    }
    if (indices_ == nullptr) {
      const std::string near = core::nearest_match(split, known);
      throw DataError(str("'", file, "' has no split '", split, "'; it has: ", core::join(known),
                          near.empty() ? "" : str(". Did you mean '", near, "'?")));
    }
  }

  int64_t size() const override { return static_cast<int64_t>(indices_->size()); }
  int64_t num_classes() const override { return static_cast<int64_t>(class_names_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  int64_t label(int64_t index) const override { return dataset_.tables().labels[sample(index)]; }
  std::string name(int64_t index) const override { return dataset_.tables().names.at(sample(index)); }

  Sample read(int64_t index) const override {
    const size_t i = sample(index);
    const DatasetTables& t = dataset_.tables();
    Sample out;
    out.encoding = static_cast<Encoding>(t.encoding[i]);
    if (out.encoding != Encoding::kFile) {
      out.height = t.height[i];
      out.width = t.width[i];
    }
    if (!dataset_.read_sample(i, out.bytes)) {
      throw DataError(str("'", dataset_.file(), "': sample '", io::printable(t.names.at(i)),
                          "' does not match its checksum: the file is damaged; see 'snell inspect ", dataset_.file(),
                          "' for all that is, and convert the data set again"));
    }
    return out;
  }

 private:
  size_t sample(int64_t index) const {
    core::check(index >= 0 && index < size(), str("sample ", index, " of a split of ", size()));
    return static_cast<size_t>((*indices_)[static_cast<size_t>(index)]);
  }

  Dataset dataset_;
  std::vector<std::string> class_names_;
  const std::vector<uint64_t>* indices_ = nullptr;
};

void describe_samples(const DatasetTables& t, DatasetInfo& info) {
  for (uint8_t encoding : t.encoding) {
    if (encoding == static_cast<uint8_t>(Encoding::kFile)) ++info.num_encoded;
    if (encoding == static_cast<uint8_t>(Encoding::kRawGrey)) ++info.num_raw_grey;
    if (encoding == static_cast<uint8_t>(Encoding::kRawRgb)) ++info.num_raw_rgb;
  }
  if (t.num_samples() == 0) return;
  const auto [low_height, high_height] = std::minmax_element(t.height.begin(), t.height.end());
  const auto [low_width, high_width] = std::minmax_element(t.width.begin(), t.width.end());
  info.min_height = *low_height;
  info.max_height = *high_height;
  info.min_width = *low_width;
  info.max_width = *high_width;
}

}  // namespace

bool looks_like_dataset(const std::string& file) {
  static constexpr std::string_view kMagic = "\x89HDF\r\n\x1a\n";
  std::array<char, 8> head = {};
  try {
    const io::FileDescriptor descriptor = io::open_for_reading(file, io::raise_data_error);
    return ::pread(descriptor.get(), head.data(), head.size(), 0) == static_cast<ssize_t>(head.size()) &&
           std::string_view(head.data(), head.size()) == kMagic;
  } catch (const DataError&) {
    return false;
  }
}

std::unique_ptr<SampleSource> open_dataset(const std::string& file, const std::string& split) {
  return std::make_unique<DatasetSource>(file, split);
}

DatasetInfo describe_dataset(const std::string& file) {
  const Dataset dataset(file);
  const DatasetTables& t = dataset.tables();
  DatasetInfo info;
  info.file = file;
  info.name = t.name;
  info.source = t.source;
  info.licence = t.licence;
  info.created_by = t.created_by;
  info.schema_version = kDatasetSchemaVersion;
  info.file_bytes = static_cast<int64_t>(dataset.file_bytes());
  info.blob_bytes = static_cast<int64_t>(t.blob_bytes());
  info.num_samples = static_cast<int64_t>(t.num_samples());
  describe_samples(t, info);
  for (size_t c = 0; c < t.classes.size(); ++c) info.class_names.push_back(t.classes.at(c));
  for (const SplitEntry& split : t.splits) {
    SplitInfo entry{split.name, static_cast<int64_t>(split.indices.size()), {}};
    entry.class_counts.resize(info.class_names.size());
    for (uint64_t index : split.indices) ++entry.class_counts[static_cast<size_t>(t.labels[index])];
    info.splits.push_back(std::move(entry));
  }
  return info;
}

VerifyReport verify_dataset(const std::string& file) {
  const Dataset dataset(file);
  const DatasetTables& t = dataset.tables();
  VerifyReport report;
  std::vector<std::byte> bytes;
  for (size_t i = 0; i < t.num_samples(); ++i) {
    if (!dataset.read_sample(i, bytes)) report.damaged_samples.push_back(t.names.at(i));
    ++report.samples_checked;
  }
  for (size_t block = 0; 2 * block < t.block_checksums.size(); ++block) {
    const uint64_t begin = block * t.block_bytes;
    dataset.read(begin, std::min(begin + t.block_bytes, t.blob_bytes()), bytes);
    if (core::hash128(bytes) != core::Hash128{t.block_checksums[2 * block], t.block_checksums[2 * block + 1]}) {
      report.damaged_blocks.push_back(static_cast<int64_t>(block));
    }
    ++report.blocks_checked;
    report.bytes_checked += static_cast<int64_t>(bytes.size());
  }
  return report;
}

}  // namespace snell::data
