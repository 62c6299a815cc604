#include "file_bytes.h"

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
  if (mapped) give_back_pages(bytes);  // also the two pages that are shared with neighbours
}

void FileBytes::check_unchanged() const {
  if (mapped) std::static_pointer_cast<const MappedFile>(owner)->check_unchanged(path, raise_weights_error);
}

std::shared_ptr<const void> FileBytes::lease() const {
  if (!mapped) return owner;
  return {bytes.data(), [copy = *this](const void*) { copy.give_back(); }};
}

}  // namespace snell::io
