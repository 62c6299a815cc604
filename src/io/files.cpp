#include "snell/io/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "snell/core/error.h"

namespace snell::io {

using core::str;

void raise_data_error(const std::string& message) {
  throw core::DataError(message);
}
void raise_weights_error(const std::string& message) {
  throw core::WeightsError(message);
}

std::string printable(std::string_view text) {
  std::string out(text.substr(0, 200));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  if (text.size() > 200) out += "...";
  return out;
}

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

FileDescriptor::~FileDescriptor() {
  reset();
}

void FileDescriptor::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

FileDescriptor open_for_reading(const std::string& path, Raise raise) {
  // A pipe without a writer must not be waited for; it is refused below.
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) raise(str("cannot open '", path, "': ", std::strerror(errno)));
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) raise(str("cannot read '", path, "': ", std::strerror(errno)));
  if (!S_ISREG(status.st_mode)) {
    raise(str("'", path, "' is ", S_ISDIR(status.st_mode) ? "a folder" : "not a regular file", "; a file is needed"));
  }
  return file;
}

uint64_t size_of_file(const FileDescriptor& file, const std::string& path, Raise raise) {
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) raise(str("cannot read '", path, "': ", std::strerror(errno)));
  return static_cast<uint64_t>(status.st_size);
}

std::vector<std::byte> read_file(const std::string& path, uint64_t max_bytes, Raise raise) {
  const FileDescriptor file = open_for_reading(path, raise);
  const uint64_t size = size_of_file(file, path, raise);
  if (size > max_bytes) raise(str("'", path, "' has ", size, " bytes; at most ", max_bytes, " are allowed here"));
  std::vector<std::byte> bytes(size);
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = ::read(file.get(), bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) raise(str("cannot read '", path, "': ", std::strerror(errno)));
    if (got == 0) raise(str("'", path, "' became shorter while it was read"));
    done += static_cast<size_t>(got);
  }
  return bytes;
}

std::vector<std::byte> read_maybe_gzipped(const std::string& path, uint64_t max_bytes, Raise raise) {
  FileDescriptor file = open_for_reading(path, raise);
  const int copy = ::fcntl(file.get(), F_DUPFD_CLOEXEC, 0);
  gzFile packed = copy < 0 ? nullptr : gzdopen(copy, "rb");
  if (packed == nullptr) {
    if (copy >= 0) ::close(copy);
    raise(str("cannot read '", path, "': out of file descriptors or memory"));
  }
  std::vector<std::byte> bytes;
  std::string problem;
  constexpr size_t kPart = 1 << 20;
  for (;;) {
    const size_t done = bytes.size();
    bytes.resize(done + kPart);
    const int got = gzread(packed, bytes.data() + done, kPart);
    bytes.resize(done + static_cast<size_t>(std::max(got, 0)));
    if (got < 0) {
      int code = 0;
      problem = str("is damaged (", gzerror(packed, &code), ")");
    } else if (bytes.size() > max_bytes) {
      problem = str("unpacks to more than the ", max_bytes, " bytes allowed here");
    }
    if (got <= 0 || !problem.empty()) break;
  }
  // A stream that ends too early is only reported here.
  if (gzclose_r(packed) != Z_OK && problem.empty()) problem = "is cut off: the gzip stream ends too early";
  if (!problem.empty()) raise(str("'", path, "' ", problem, "; fetch the file again"));
  return bytes;
}

static int64_t time_of_last_write(const struct stat& status) {
  return int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
}

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path, Raise raise) {
  FileDescriptor file = open_for_reading(path, raise);
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) raise(str("cannot read '", path, "': ", std::strerror(errno)));
  const auto size = static_cast<uint64_t>(status.st_size);
  if (size == 0) raise(str("'", path, "' is empty"));
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) raise(str("cannot map '", path, "': ", std::strerror(errno)));
  return std::shared_ptr<const MappedFile>(new MappedFile(std::move(file), address, size, time_of_last_write(status)));
}

MappedFile::~MappedFile() {
  ::munmap(address_, size_);
}

void MappedFile::check_unchanged(const std::string& path, Raise raise) const {
  struct stat status = {};
  if (::fstat(file_.get(), &status) != 0) raise(str("cannot read '", path, "' any more: ", std::strerror(errno)));
  if (static_cast<uint64_t>(status.st_size) == size_ && time_of_last_write(status) == written_) return;
  raise(str("'", path, "' was written to while it was in use (it had ", size_, " bytes, now ", status.st_size,
            "); start again, and replace such a file by renaming another one over it"));
}

static void advise(std::span<const std::byte> bytes, int advice) {
  if (bytes.empty()) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(bytes.data()) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(bytes.data()) + bytes.size();
  ::madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

void expect_pages(std::span<const std::byte> bytes) {
  advise(bytes, MADV_WILLNEED);
}

void give_back_pages(std::span<const std::byte> bytes) {
  advise(bytes, MADV_DONTNEED);
}

[[noreturn]] static void raise_disk_error(const std::string& path, const char* what) {
  throw core::DiskError(str("cannot ", what, " '", path, "': ", std::strerror(errno),
                            "; check that the folder exists, is writable and has room"));
}

PendingFile::PendingFile(std::string path) : path_(std::move(path)) {
  static std::atomic<unsigned> counter{0};
  char host[64] = "";
  ::gethostname(host, sizeof host - 1);  // two nodes may write beside the same path on a shared file system
  for (int attempt = 0; attempt < 100 && file_.get() < 0; ++attempt) {
    temporary_ = str(path_, ".", host, "-", ::getpid(), "-", counter++, ".tmp");
    file_ = FileDescriptor(::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (file_.get() < 0 && errno != EEXIST) raise_disk_error(temporary_, "create");
  }
  if (file_.get() < 0) raise_disk_error(temporary_, "create");
}

PendingFile::~PendingFile() {
  if (!committed_) ::unlink(temporary_.c_str());
}

void PendingFile::commit() {
  if (::fsync(file_.get()) != 0) raise_disk_error(temporary_, "flush");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) raise_disk_error(path_, "rename the finished file to");
  committed_ = true;
  file_.reset();
  const std::string folder = (std::filesystem::path(path_).parent_path() / ".").string();
  const FileDescriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some network file systems refuse to flush a folder (EINVAL); the rename itself has happened.
  if (directory.get() < 0 || (::fsync(directory.get()) != 0 && errno != EINVAL)) raise_disk_error(folder, "flush");
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put = ::write(pending_.file_.get(), bytes.data() + done, bytes.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) raise_disk_error(pending_.temporary_, "write");
    done += static_cast<size_t>(put);
  }
}

void write_file(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

}  // namespace snell::io
