// A zip archive as torch.save and numpy write it (PKWARE's APPNOTE 6.3, with zip64): entries stored or deflated, one
// behind the other without gaps.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "file_bytes.h"

namespace snell::io {

struct ZipEntry {
  std::string name;
  uint64_t size = 0;                           // unpacked
  uint64_t packed_begin = 0, packed_size = 0;  // within the file
  uint32_t crc = 0;
  bool deflated = false;
};

// Every byte of the archive's own structures is held against what another place of the file says, so that a flipped bit
// in them is found when the file is opened; the entries' contents have a CRC-32, which read() checks.
class ZipFile {
 public:
  static constexpr size_t kMaxEntries = 1 << 17;

  // Throws WeightsError: not an archive, damaged, encrypted, packed by another method than deflate.
  explicit ZipFile(FileBytes file);

  const std::string& path() const { return file_.path; }
  uint64_t file_size() const { return file_.bytes.size(); }
  const std::vector<ZipEntry>& entries() const { return entries_; }
  const ZipEntry* find(std::string_view name) const;  // null when there is none

  // `entry` is one of entries() here and below. An entry's content, checked: a view of the file when it is stored, else
  // unpacked. Throws WeightsError when the checksum does not match or the content would take more than `max_bytes`.
  // Threads may read at the same time.
  FileBytes read(const ZipEntry& entry, uint64_t max_bytes) const;
  // At most the first `size` bytes of an entry, unchecked.
  std::vector<std::byte> head(const ZipEntry& entry, size_t size) const;
  // Reads every entry, piece by piece, and compares its checksum. Throws WeightsError.
  void verify() const;

  // "'x.npz' is damaged: entry 'w': …". Throws WeightsError.
  [[noreturn]] void refuse(const ZipEntry& entry, const std::string& what) const;

 private:
  void check_stored(const ZipEntry& entry) const;

  FileBytes file_;
  std::vector<ZipEntry> entries_;  // sorted by their place in the file
  std::vector<uint32_t> by_name_;
  std::unique_ptr<std::atomic<bool>[]> checked_;
};

}  // namespace snell::io
