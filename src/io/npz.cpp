// numpy's .npz: a zip archive of .npy arrays, stored or deflated.
#include <algorithm>
#include <optional>

#include "budget.h"
#include "formats.h"
#include "npy_header.h"
#include "snell/core/error.h"
#include "snell/io/files.h"
#include "strided_copy.h"

namespace snell::io {

using core::str;

namespace {

struct Entry {
  const ZipEntry* zipped = nullptr;
  NpyHeader header;
};

class NpzFile : public TensorSource {
 public:
  explicit NpzFile(std::shared_ptr<const ZipFile> zip) : zip_(std::move(zip)) {
    for (const ZipEntry& entry : zip_->entries()) add_entry(entry);
  }

  const std::string& path() const override { return zip_->path(); }
  const char* format() const override { return "npz"; }
  std::vector<std::string> names() const override { return names_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }

  HostTensor describe(const std::string& name) const override {
    const Entry& entry = find(name);
    return {entry.header.dtype, entry.header.shape, {}, nullptr};
  }

  HostTensor read(const std::string& name) const override {
    const Entry& entry = find(name);
    const NpyHeader& header = entry.header;
    const bool reorder = header.fortran_order && header.shape.size() > 1;
    const FileBytes array = zip_->read(*entry.zipped, read_budget(zip_->file_size()) / (reorder ? 2 : 1));
    const FileBytes data = array.part(header.data_begin, array.bytes.size() - header.data_begin);
    const auto item = static_cast<size_t>(size_of(header.dtype));
    HostTensor tensor{header.dtype, header.shape, data.bytes, nullptr};
    if (reorder || reinterpret_cast<uintptr_t>(data.bytes.data()) % item != 0) {
      auto copy = std::make_shared<std::vector<std::byte>>(data.bytes.size());
      if (reorder) {
        copy_strided(data.bytes, header.shape, fortran_strides(header.shape), item, *copy);
      } else {
        std::copy(data.bytes.begin(), data.bytes.end(), copy->begin());
      }
      array.give_back();
      tensor.bytes = *copy;
      tensor.keep_alive = std::move(copy);
    } else {
      tensor.keep_alive = array.lease();
    }
    check_bools(tensor, path(), name);
    return tensor;
  }

  void verify() const override {
    TensorSource::verify();
    zip_->verify();
  }

 private:
  const Entry& find(const std::string& name) const {
    const auto found = entries_.find(name);
    if (found == entries_.end()) raise_unknown_tensor(*this, name);
    return found->second;
  }

  void add_entry(const ZipEntry& zipped) {
    std::string name = zipped.name;
    if (!name.ends_with(".npy")) zip_->refuse(zipped, "it is not an .npy array");
    name.resize(name.size() - 4);
    Entry entry{&zipped, {}};
    if (std::string problem = read_header(zipped, entry.header); !problem.empty()) zip_->refuse(zipped, problem);
    if (!entry.header.readable) {
      std::string& left_out = metadata_["not_tensors"];
      if (left_out.size() < 1000) left_out += (left_out.empty() ? "" : ", ") + printable(name);
      return;
    }
    const std::optional<int64_t> bytes = byte_count(entry.header.dtype, entry.header.shape);
    if (!bytes || static_cast<uint64_t>(*bytes) != zipped.size - entry.header.data_begin) {
      zip_->refuse(zipped, str("its shape ", shape_text(entry.header.shape), " and its size of ", zipped.size,
                               " bytes do not agree"));
    }
    entries_.emplace(name, std::move(entry));
    names_.push_back(std::move(name));
  }

  // Nearly all headers have 128 bytes: the most that one may have would be read of every array else.
  std::string read_header(const ZipEntry& zipped, NpyHeader& header) const {
    std::string problem;
    for (const size_t size : {size_t{1024}, kMaxNpyHeader}) {
      header = {};
      problem = parse_npy_header(zip_->head(zipped, size), header);
      if (problem.empty()) break;
    }
    return problem;
  }

  static std::vector<int64_t> fortran_strides(const std::vector<int64_t>& shape) {
    std::vector<int64_t> strides(shape.size(), 1);
    for (size_t d = 1; d < shape.size(); ++d) strides[d] = strides[d - 1] * shape[d - 1];
    return strides;
  }

  std::shared_ptr<const ZipFile> zip_;
  std::vector<std::string> names_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace

std::unique_ptr<TensorSource> open_npz(std::shared_ptr<const ZipFile> zip) {
  return std::make_unique<NpzFile>(std::move(zip));
}

}  // namespace snell::io
