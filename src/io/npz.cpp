// numpy's .npz: a zip archive of .npy arrays, stored or deflated.
#include <zip.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>

#include "formats.h"
#include "npy_header.h"
#include "snell/core/error.h"
#include "snell/io/files.h"

namespace snell::io {

using core::str;

namespace {

struct ZipCloser {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
struct ZipFileCloser {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};

struct Entry {
  uint64_t index = 0;  // in the archive
  uint64_t size = 0;   // unpacked, header included
  NpyHeader header;
};

class NpzFile : public TensorSource {
 public:
  explicit NpzFile(const std::string& path) : path_(path) {
    int code = 0;
    archive_.reset(zip_open(path.c_str(), ZIP_RDONLY, &code));
    if (archive_ == nullptr) {
      zip_error_t error;
      zip_error_init_with_code(&error, code);
      const std::string text = zip_error_strerror(&error);
      zip_error_fini(&error);
      refuse(str("its archive cannot be opened (", text, ")"));
    }
    const FileDescriptor file = open_for_reading(path, raise_weights_error);
    file_size_ = size_of_file(file, path, raise_weights_error);
    const zip_int64_t count = zip_get_num_entries(archive_.get(), 0);
    for (zip_int64_t i = 0; i < count; ++i) add_entry(static_cast<uint64_t>(i));
  }

  const std::string& path() const override { return path_; }
  const char* format() const override { return "npz"; }
  std::vector<std::string> names() const override { return names_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }

  HostTensor describe(const std::string& name) const override {
    const Entry& entry = find(name);
    return {entry.header.dtype, entry.header.shape, {}, nullptr};
  }

  HostTensor read(const std::string& name) const override {
    const Entry& entry = find(name);
    auto bytes = std::make_shared<std::vector<std::byte>>(unpack(name, entry.index, entry.size, true));
    bytes->erase(bytes->begin(), bytes->begin() + static_cast<std::ptrdiff_t>(entry.header.data_begin));
    if (entry.header.fortran_order && entry.header.shape.size() > 1) {
      *bytes = to_row_major(*bytes, entry.header.shape, static_cast<size_t>(size_of(entry.header.dtype)));
    }
    HostTensor tensor{entry.header.dtype, entry.header.shape, *bytes, bytes};
    check_bools(tensor, path_, name);
    return tensor;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    raise_weights_error(str("'", path_, "' is not a sound .npz file: ", what, "; fetch or write it again"));
  }

  const Entry& find(const std::string& name) const {
    const auto found = entries_.find(name);
    if (found == entries_.end()) raise_unknown_tensor(*this, name);
    return found->second;
  }

  void add_entry(uint64_t index) {
    zip_stat_t status;
    if (zip_stat_index(archive_.get(), index, 0, &status) != 0) refuse(str("its entry ", index, " cannot be read"));
    const zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    if ((status.valid & needed) != needed) refuse(str("its entry ", index, " is incomplete"));
    std::string name = status.name;
    const auto refuse_entry = [&](const std::string& what) { refuse(str("entry '", printable(name), "': ", what)); };
    if (!name.ends_with(".npy")) {
      refuse_entry(name.ends_with("data.pkl") ? "the archive is one of torch.save; save it as safetensors"
                                              : "it is not an .npy array");
    }
    name.resize(name.size() - 4);
    if ((status.valid & ZIP_STAT_ENCRYPTION_METHOD) != 0 && status.encryption_method != ZIP_EM_NONE) {
      refuse_entry("it is encrypted");
    }
    if (status.comp_method != ZIP_CM_STORE && status.comp_method != ZIP_CM_DEFLATE) {
      refuse_entry("it is packed by another method than deflate");
    }
    // Deflate packs at most 1032 to 1: an entry that claims more is a bomb, and nothing is allocated for it.
    if (status.comp_size > file_size_ || status.size > status.comp_size * 1032 + 1032 ||
        (status.comp_method == ZIP_CM_STORE && status.size != status.comp_size)) {
      refuse_entry(str("it claims ", status.size, " bytes out of ", status.comp_size, " packed ones"));
    }
    Entry entry{index, status.size, {}};
    const std::vector<std::byte> head = unpack(name, index, std::min<uint64_t>(status.size, kMaxNpyHeader), false);
    if (std::string problem = parse_npy_header(head, entry.header); !problem.empty()) refuse_entry(problem);
    const std::optional<int64_t> bytes = byte_count(entry.header.dtype, entry.header.shape);
    if (!bytes || static_cast<uint64_t>(*bytes) != status.size - entry.header.data_begin) {
      refuse_entry(
          str("its shape ", shape_text(entry.header.shape), " and its size of ", status.size, " bytes do not agree"));
    }
    if (!entries_.emplace(name, std::move(entry)).second) refuse_entry("it appears twice");
    names_.push_back(std::move(name));
  }

  // The first `size` bytes of an entry; `whole` also checks that it ends there with the right checksum.
  std::vector<std::byte> unpack(const std::string& name, uint64_t index, uint64_t size, bool whole) const {
    const std::lock_guard lock(mutex_);  // libzip's handles are for one thread at a time
    const auto damaged = [&](const char* what) {
      refuse(str("entry '", printable(name), "' is damaged (", what, ")"));
    };
    std::unique_ptr<zip_file_t, ZipFileCloser> file(zip_fopen_index(archive_.get(), index, 0));
    if (file == nullptr) damaged(zip_strerror(archive_.get()));
    std::vector<std::byte> bytes(size);
    size_t done = 0;
    while (done < size) {
      const zip_int64_t got = zip_fread(file.get(), bytes.data() + done, size - done);
      if (got < 0) damaged(zip_file_strerror(file.get()));
      if (got == 0) damaged("it ends too early");
      done += static_cast<size_t>(got);
    }
    std::byte extra;
    if (whole) {
      const zip_int64_t got = zip_fread(file.get(), &extra, 1);
      if (got < 0) damaged(zip_file_strerror(file.get()));
      if (got > 0) damaged("it is longer than it claims");
    }
    return bytes;
  }

  static std::vector<std::byte> to_row_major(const std::vector<std::byte>& source, const std::vector<int64_t>& shape,
                                             size_t item) {
    std::vector<std::byte> out(source.size());
    std::vector<size_t> stride(shape.size(), item), at(shape.size(), 0);
    for (size_t d = 1; d < shape.size(); ++d) stride[d] = stride[d - 1] * static_cast<size_t>(shape[d - 1]);
    size_t from = 0;
    for (size_t to = 0; to < out.size(); to += item) {
      std::memcpy(out.data() + to, source.data() + from, item);
      for (size_t d = shape.size(); d-- > 0;) {
        from += stride[d];
        if (++at[d] < static_cast<size_t>(shape[d])) break;
        from -= stride[d] * at[d];
        at[d] = 0;
      }
    }
    return out;
  }

  std::string path_;
  uint64_t file_size_ = 0;
  std::unique_ptr<zip_t, ZipCloser> archive_;
  mutable std::mutex mutex_;
  std::vector<std::string> names_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace

std::unique_ptr<TensorSource> open_npz(const std::string& path) {
  return std::make_unique<NpzFile>(path);
}

}  // namespace snell::io
