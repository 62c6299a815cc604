// The bytes of a file, or of a part of one: mapped in the program, plain memory where a part had to be unpacked (and in
// the fuzz targets).
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace snell::io {

struct FileBytes {
  std::string path;  // for messages
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
  bool mapped = false;  // then the owner is a MappedFile

  // Maps the file. Throws WeightsError.
  static FileBytes map(const std::string& path);
  // Takes bytes that are in memory already.
  static FileBytes of(std::string path, std::vector<std::byte> content);

  // The part [begin, begin + size), which must lie inside.
  FileBytes part(size_t begin, size_t size) const;

  // Mapped pages count as resident memory until they are given back. They stay readable: the next access maps them
  // again.
  void give_back() const;
  // Throws WeightsError where the mapped file was written to since it was opened.
  void check_unchanged() const;
  // An owner of these bytes that gives their pages back when the last copy of it goes.
  std::shared_ptr<const void> lease() const;
};

// The little-endian number at `offset`, which must lie inside.
template <class T>
T number_at(std::span<const std::byte> bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.subspan(offset, sizeof value).data(), sizeof value);
  return value;
}

}  // namespace snell::io
