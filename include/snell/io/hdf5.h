// A small layer over the HDF5 C API: every return code becomes an exception, and only what a mutated file cannot turn
// into a crash is read (fixed-size types, contiguous storage, hard links; no variable-length types, references,
// filters, external or virtual storage: https://docs.hdfgroup.org/archive/support/HDF5/doc/H5.format.html).
//
// Thread-safe: one process-wide lock around every call, as serial builds of HDF5 may have none. File locking is
// switched off (HDF5_USE_FILE_LOCKING=FALSE unless the environment says otherwise): NFS and Lustre often cannot lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "snell/io/files.h"

namespace snell::io {

// An open HDF5 object; closed when it goes out of scope. `id` is HDF5's hid_t.
class Hdf5Handle {
 public:
  using Close = int (*)(int64_t id);
  Hdf5Handle() = default;
  Hdf5Handle(int64_t id, Close close) : id_(id), close_(close) {}
  Hdf5Handle(Hdf5Handle&& other) noexcept;
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept;
  ~Hdf5Handle();
  int64_t get() const { return id_; }
  // Closes now and returns HDF5's code (negative: failed); 0 when nothing was open.
  int close();

 private:
  int64_t id_ = -1;
  Close close_ = nullptr;
};

// "1.14.6", of the library that is loaded.
std::string hdf5_version();

// Where a contiguous data set lies in its file, within the file's bounds.
struct Hdf5Extent {
  uint64_t offset = 0;
  uint64_t size = 0;  // bytes
};

// Names of objects are paths without a leading slash ("images/blob"); "" is the root group.
// Element types T: uint8_t, int64_t, uint32_t, uint64_t, float, double; stored little-endian, and on reading the stored
// type must be the very same.
class Hdf5File {
 public:
  // A new file (an existing one is replaced: give it a PendingFile's temporary name). Writing throws DiskError.
  static Hdf5File create(const std::string& path);
  // For reading; whatever is wrong is thrown through `raise`.
  static Hdf5File open(const std::string& path, Raise raise);

  const std::string& path() const { return path_; }

  // Writing -----------------------------------------------------------------------------------------------------------
  void create_group(const std::string& name);
  // One dimension, or [values.size() / columns, columns].
  template <class T>
  void write(const std::string& name, std::span<const T> values, uint64_t columns = 0);
  // A one-dimensional data set of `size` bytes to be filled by write_bytes(); contiguous and unfiltered.
  void create_bytes(const std::string& name, uint64_t size);
  void write_bytes(const std::string& name, uint64_t offset, std::span<const std::byte> bytes);
  void write_attribute(const std::string& object, const std::string& name, const std::string& text);
  void write_attribute(const std::string& object, const std::string& name, uint64_t number);
  // Flushes and closes; a file that was not closed so may be incomplete. Throws DiskError.
  void close();

  // Reading -----------------------------------------------------------------------------------------------------------
  bool has(const std::string& name) const;
  // The names in a group, sorted.
  std::vector<std::string> children(const std::string& group) const;
  std::vector<uint64_t> shape(const std::string& name) const;
  // All elements of a data set whose shape must be `shape` (as from shape(), or as expected).
  template <class T>
  std::vector<T> read(const std::string& name, const std::vector<uint64_t>& shape) const;
  // The extent of a one-dimensional data set of bytes, for pread(): no HDF5 call is needed to read it.
  Hdf5Extent bytes_extent(const std::string& name) const;
  std::string text_attribute(const std::string& object, const std::string& name) const;
  uint64_t number_attribute(const std::string& object, const std::string& name) const;

 private:
  Hdf5File(std::string path, Raise raise) : path_(std::move(path)), raise_(raise) {}
  // The one place where HDF5's return codes are looked at.
  template <class Call>
  auto checked(const std::string& what, const Call& call) const;
  template <class Call>
  Hdf5Handle checked_handle(const std::string& what, Hdf5Handle::Close close, const Call& call) const;
  [[noreturn]] void refuse(const std::string& name, const std::string& what) const;
  void check_links(const std::string& name) const;
  Hdf5Handle open_data_set(const std::string& name, int64_t type) const;
  Hdf5Handle open_attribute(const std::string& object, const std::string& name) const;
  Hdf5Extent storage(const std::string& name, const Hdf5Handle& data_set) const;
  std::vector<uint64_t> shape_of(const std::string& name, const Hdf5Handle& data_set) const;

  std::string path_;
  Raise raise_;
  uint64_t file_size_ = 0;
  Hdf5Handle file_;
};

}  // namespace snell::io
