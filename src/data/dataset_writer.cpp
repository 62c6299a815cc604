#include "snell/data/dataset_writer.h"

#include <algorithm>
#include <utility>

#include "dataset_tables.h"
#include "snell/core/error.h"
#include "snell/io/files.h"

namespace snell::data {

using core::str;

struct DatasetWriter::State {
  explicit State(const std::string& path) : pending(path), file(io::Hdf5File::create(pending.temporary())) {}

  void append(const core::Hash128& hash, std::vector<uint64_t>& table) {
    table.push_back(hash.low);
    table.push_back(hash.high);
  }

  void write_block() {
    if (block.empty()) return;
    append(core::hash128(block), tables.block_checksums);
    file.write_bytes("images/blob", written, block);
    written += block.size();
    block.clear();
  }

  io::PendingFile pending;
  io::Hdf5File file;
  DatasetTables tables;
  std::vector<std::byte> block;
  uint64_t written = 0;
  size_t next = 0;
};

DatasetWriter::DatasetWriter(const std::string& path, const DatasetHeader& header,
                             const std::vector<SampleEntry>& samples, std::vector<SplitEntry> splits)
    : state_(std::make_unique<State>(path)) {
  DatasetTables& t = state_->tables;
  t.name = header.name;
  t.source = header.source;
  t.licence = header.licence;
  t.created_by = header.created_by;
  for (const std::string& name : header.class_names) t.classes.add(name);
  t.offsets.push_back(0);
  for (const SampleEntry& sample : samples) {
    t.offsets.push_back(t.offsets.back() + sample.num_bytes);
    t.encoding.push_back(static_cast<uint8_t>(sample.encoding));
    t.height.push_back(sample.height);
    t.width.push_back(sample.width);
    t.labels.push_back(sample.label);
    t.names.add(sample.name);
  }
  // A reader finds them in this order, and the checksum goes over them in it.
  std::sort(splits.begin(), splits.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  t.splits = std::move(splits);
  state_->file.create_group("images");
  state_->file.create_bytes("images/blob", t.blob_bytes());
}

DatasetWriter::~DatasetWriter() = default;

void DatasetWriter::add(std::span<const std::byte> bytes) {
  State& s = *state_;
  core::check(s.next < s.tables.num_samples(), "more samples than were announced");
  core::check(bytes.size() == s.tables.offsets[s.next + 1] - s.tables.offsets[s.next],
              str("sample '", s.tables.names.at(s.next), "' has another size than announced"));
  ++s.next;
  s.append(core::hash128(bytes), s.tables.checksums);
  while (!bytes.empty()) {
    const size_t part = std::min<size_t>(bytes.size(), s.tables.block_bytes - s.block.size());
    s.block.insert(s.block.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(part));
    bytes = bytes.subspan(part);
    if (s.block.size() == s.tables.block_bytes) s.write_block();
  }
}

void DatasetWriter::commit() {
  State& s = *state_;
  core::check(s.next == s.tables.num_samples(), "fewer samples than were announced");
  s.write_block();
  s.tables.write(s.file);
  s.file.close();
  s.pending.commit();
}

}  // namespace snell::data
