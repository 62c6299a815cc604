#include "file_bytes.h"

#include <sys/mman.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "snell/io/files.h"

namespace snell::io {

FileBytes FileBytes::map(const std::string& path) {
  std::shared_ptr<const MappedFile> file = MappedFile::open(path, raise_weights_error);
  const auto bytes = file->bytes();
  return {path, bytes, std::move(file), true};
}

FileBytes FileBytes::of(std::string path, std::vector<std::byte> content) {
  auto owner = std::make_shared<const std::vector<std::byte>>(std::move(content));
  return {std::move(path), *owner, owner, false};
}

FileBytes FileBytes::part(size_t begin, size_t size) const {
  return {path, bytes.subspan(begin, size), owner, mapped};
}

void FileBytes::give_back() const {
  if (!mapped || bytes.empty()) return;
  // Whole pages, also the two that are shared with neighbours.
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(bytes.data()) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(bytes.data()) + bytes.size();
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::shared_ptr<const void> FileBytes::lease() const {
  if (!mapped) return owner;
  return {bytes.data(), [copy = *this](const void*) { copy.give_back(); }};
}

}  // namespace snell::io
