// Whole files: read with a budget, mapped, and written so that a reader sees either the old file or the complete new
// one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace snell::io {

// Who a bad file belongs to decides the error class, and with it the exit code: a reader is given one of these two.
using Raise = void (*)(const std::string& message);
[[noreturn]] void raise_data_error(const std::string& message);     // core::DataError
[[noreturn]] void raise_weights_error(const std::string& message);  // core::WeightsError

// Text from a file as it may stand in a message: control bytes become '?', and it is cut after 200 bytes.
std::string printable(std::string_view text);

// An open file descriptor.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();
  int get() const { return fd_; }
  void reset();

 private:
  int fd_;
};

// Opens a regular file for reading; a missing file or a folder is an error in words.
FileDescriptor open_for_reading(const std::string& path, Raise raise);
uint64_t size_of_file(const FileDescriptor& file, const std::string& path, Raise raise);

// The whole file. More than `max_bytes` is an error.
std::vector<std::byte> read_file(const std::string& path, uint64_t max_bytes, Raise raise);
// The same of a file that may be gzipped (recognised by content); the budget is for the unpacked bytes.
std::vector<std::byte> read_maybe_gzipped(const std::string& path, uint64_t max_bytes, Raise raise);

// A file mapped read-only for as long as the object lives. Whoever truncates the file meanwhile kills the reader
// (SIGBUS): replace files by rename, as AtomicFile does; the mapping keeps the old file.
class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> open(const std::string& path, Raise raise);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(address_), size_}; }
  // Raises where size or time of the last write are no longer those of the opening. A rename over the path is no
  // change. One system call; it cannot see a truncation that happens between the call and the reading.
  void check_unchanged(const std::string& path, Raise raise) const;

 private:
  MappedFile(FileDescriptor file, void* address, size_t size, int64_t written)
      : file_(std::move(file)), address_(address), size_(size), written_(written) {}
  FileDescriptor file_;
  void* address_;
  size_t size_;
  int64_t written_;  // nanoseconds
};

// Advice on pages of a mapped file, without effect on what they hold: whole pages around `bytes`.
void expect_pages(std::span<const std::byte> bytes);     // they will be read soon: the disk may begin
void give_back_pages(std::span<const std::byte> bytes);  // they need not stay in this process's memory

// A new file under a temporary name beside `path` (ending in ".tmp"), which commit() flushes to disk and renames.
// Without commit() the destructor removes it. For writers that open the file by name themselves (HDF5). Throws
// DiskError.
class PendingFile {
 public:
  explicit PendingFile(std::string path);
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;
  ~PendingFile();
  const std::string& path() const { return path_; }
  const std::string& temporary() const { return temporary_; }
  // Flushes the file, renames it and flushes the folder.
  void commit();

 private:
  friend class AtomicFile;
  std::string path_, temporary_;
  FileDescriptor file_;
  bool committed_ = false;
};

// A sequential writer to a PendingFile. Throws DiskError; the old file at `path` stays as it was until commit().
class AtomicFile {
 public:
  explicit AtomicFile(std::string path) : pending_(std::move(path)) {}
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void commit() { pending_.commit(); }

 private:
  PendingFile pending_;
};

// The two verbs in one.
void write_file(const std::string& path, std::string_view content);

}  // namespace snell::io
