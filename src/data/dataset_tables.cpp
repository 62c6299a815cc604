#include "dataset_tables.h"

#include <algorithm>
#include <span>

#include "snell/core/error.h"
#include "snell/data/dataset_file.h"

namespace snell::data {

using core::str;
using io::Hdf5File;

namespace {

constexpr const char* kFormat = "snell data set";

template <class T>
void add(core::Hasher& hasher, const std::vector<T>& values) {
  const uint64_t count = values.size();
  hasher.add(&count, sizeof count);
  hasher.add(values.data(), values.size() * sizeof(T));
}

void add(core::Hasher& hasher, const std::string& text) {
  add(hasher, std::vector<char>(text.begin(), text.end()));
}

[[noreturn]] void refuse(const Hdf5File& file, const std::string& what) {
  throw core::DataError(str("'", file.path(), "' is not a sound data set: ", what, "; convert the data set again"));
}

template <class T>
std::vector<T> read_1d(const Hdf5File& file, const std::string& name) {
  const std::vector<uint64_t> shape = file.shape(name);
  if (shape.size() != 1) refuse(file, str("'", name, "' has ", shape.size(), " dimensions"));
  return file.read<T>(name, shape);
}

// Offsets begin at 0, never go back and end at `end`.
void check_offsets(const Hdf5File& file, const std::string& name, const std::vector<uint64_t>& offsets, uint64_t end) {
  if (offsets.empty() || offsets.front() != 0 || offsets.back() != end ||
      !std::is_sorted(offsets.begin(), offsets.end())) {
    refuse(file, str("'", name, "' does not run from 0 to ", end));
  }
}

TextTable read_texts(const Hdf5File& file, const std::string& prefix) {
  TextTable table;
  table.bytes = read_1d<uint8_t>(file, prefix + "name_bytes");
  table.offsets = read_1d<uint64_t>(file, prefix + "name_offsets");
  check_offsets(file, prefix + "name_offsets", table.offsets, table.bytes.size());
  return table;
}

void check_samples(const Hdf5File& file, const DatasetTables& t) {
  const int64_t classes = static_cast<int64_t>(t.classes.size());
  if (t.names.size() != t.num_samples()) refuse(file, "it has another number of names than of samples");
  for (size_t i = 0; i < t.num_samples(); ++i) {
    const auto problem = [&](const std::string& what) {
      refuse(file, str("sample ", i, " ('", io::printable(t.names.at(i)), "') ", what));
    };
    const uint64_t bytes = t.offsets[i + 1] - t.offsets[i];
    if (bytes == 0) problem("has no bytes");
    if (t.labels[i] < 0 || t.labels[i] >= classes) problem(str("has the label ", t.labels[i], " of ", classes));
    if (t.encoding[i] > static_cast<uint8_t>(Encoding::kRawRgb)) problem("has an unknown encoding");
    const Encoding encoding = static_cast<Encoding>(t.encoding[i]);
    if (encoding == Encoding::kFile) continue;
    const uint64_t pixels = uint64_t{t.height[i]} * t.width[i];
    if (pixels == 0 || bytes % pixels != 0 || bytes / pixels != (encoding == Encoding::kRawRgb ? 3u : 1u)) {
      problem(str("has ", bytes, " bytes for ", t.height[i], " x ", t.width[i], " pixels"));
    }
  }
}

void check_split(const Hdf5File& file, const SplitEntry& split, size_t num_samples) {
  std::vector<bool> seen(num_samples);
  for (uint64_t index : split.indices) {
    if (index >= num_samples) refuse(file, str("split '", io::printable(split.name), "' names sample ", index));
    if (seen[index]) refuse(file, str("split '", io::printable(split.name), "' names sample ", index, " twice"));
    seen[index] = true;
  }
}

void read_attributes(const Hdf5File& file, DatasetTables& t) {
  if (file.text_attribute("", "format") != kFormat) refuse(file, "it is another kind of HDF5 file");
  const uint64_t version = file.number_attribute("", "schema_version");
  if (version != kDatasetSchemaVersion) {
    refuse(file, str("its schema version is ", version, ", this program reads ", kDatasetSchemaVersion));
  }
  t.name = file.text_attribute("", "name");
  t.source = file.text_attribute("", "source");
  t.licence = file.text_attribute("", "licence");
  t.created_by = file.text_attribute("", "created_by");
  t.block_bytes = file.number_attribute("images", "block_bytes");
  if (t.block_bytes < 4096 || t.block_bytes > (uint64_t{1} << 30)) refuse(file, "its block_bytes is out of range");
}

}  // namespace

void TextTable::add(std::string_view text) {
  bytes.insert(bytes.end(), text.begin(), text.end());
  offsets.push_back(bytes.size());
}

std::string TextTable::at(size_t i) const {
  return {bytes.begin() + static_cast<std::ptrdiff_t>(offsets.at(i)),
          bytes.begin() + static_cast<std::ptrdiff_t>(offsets.at(i + 1))};
}

core::Hash128 DatasetTables::checksum() const {
  core::Hasher hasher;
  for (const std::string* text : {&name, &source, &licence, &created_by}) add(hasher, *text);
  hasher.add(&block_bytes, sizeof block_bytes);
  for (const auto* numbers : {&offsets, &checksums, &block_checksums, &names.offsets, &classes.offsets}) {
    add(hasher, *numbers);
  }
  for (const auto* bytes : {&encoding, &names.bytes, &classes.bytes}) add(hasher, *bytes);
  add(hasher, height);
  add(hasher, width);
  add(hasher, labels);
  for (const SplitEntry& split : splits) {
    add(hasher, split.name);
    add(hasher, split.indices);
  }
  return hasher.finish();
}

void DatasetTables::write(Hdf5File& file) const {
  file.write_attribute("", "format", kFormat);
  file.write_attribute("", "schema_version", kDatasetSchemaVersion);
  file.write_attribute("", "name", name);
  file.write_attribute("", "source", source);
  file.write_attribute("", "licence", licence);
  file.write_attribute("", "created_by", created_by);
  file.write_attribute("", "table_checksum", checksum().hex());
  file.write_attribute("images", "block_bytes", block_bytes);
  file.write<uint64_t>("images/offsets", offsets);
  file.write<uint64_t>("images/checksums", checksums, 2);
  file.write<uint64_t>("images/block_checksums", block_checksums, 2);
  file.write<uint8_t>("images/encoding", encoding);
  file.write<uint32_t>("images/height", height);
  file.write<uint32_t>("images/width", width);
  file.write<int64_t>("images/labels", labels);
  file.write<uint8_t>("images/name_bytes", names.bytes);
  file.write<uint64_t>("images/name_offsets", names.offsets);
  file.create_group("classes");
  file.write<uint8_t>("classes/name_bytes", classes.bytes);
  file.write<uint64_t>("classes/name_offsets", classes.offsets);
  file.create_group("splits");
  for (const SplitEntry& split : splits) {
    file.create_group("splits/" + split.name);
    file.write<uint64_t>("splits/" + split.name + "/indices", split.indices);
  }
}

DatasetTables DatasetTables::read(const Hdf5File& file) {
  DatasetTables t;
  read_attributes(file, t);
  t.labels = read_1d<int64_t>(file, "images/labels");
  const uint64_t n = t.labels.size();
  t.offsets = file.read<uint64_t>("images/offsets", {n + 1});
  const uint64_t blob = file.bytes_extent("images/blob").size;
  check_offsets(file, "images/offsets", t.offsets, blob);
  t.checksums = file.read<uint64_t>("images/checksums", {n, 2});
  const uint64_t blocks = blob / t.block_bytes + (blob % t.block_bytes != 0 ? 1 : 0);
  t.block_checksums = file.read<uint64_t>("images/block_checksums", {blocks, 2});
  t.encoding = file.read<uint8_t>("images/encoding", {n});
  t.height = file.read<uint32_t>("images/height", {n});
  t.width = file.read<uint32_t>("images/width", {n});
  t.names = read_texts(file, "images/");
  t.classes = read_texts(file, "classes/");
  for (const std::string& split : file.children("splits")) {
    t.splits.push_back({split, read_1d<uint64_t>(file, "splits/" + split + "/indices")});
  }
  if (t.checksum().hex() != file.text_attribute("", "table_checksum")) {
    refuse(file, "its labels, offsets or other tables do not match their checksum");
  }
  check_samples(file, t);
  for (const SplitEntry& split : t.splits) check_split(file, split, n);
  return t;
}

}  // namespace snell::data
