#include "own_symbols.h"

#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>

namespace snell::core {
namespace {

// The first object is the program itself.
int take_first(dl_phdr_info* info, size_t, void* out) {
  *static_cast<uintptr_t*>(out) = info->dlpi_addr;
  return 1;
}

std::string demangled(const char* name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(abi::__cxa_demangle(name, nullptr, nullptr, &status),
                                                         std::free);
  return status == 0 ? text.get() : name;
}

}  // namespace

OwnSymbols::OwnSymbols() {
  const int fd = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  struct stat about = {};
  if (::fstat(fd, &about) == 0 && about.st_size > 0) {
    bytes_ = static_cast<size_t>(about.st_size);
    void* mapped = ::mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapped != MAP_FAILED) file_ = static_cast<const std::byte*>(mapped);
  }
  ::close(fd);
  if (file_ == nullptr) return;
  ::dl_iterate_phdr(take_first, &loaded_at_);
  find_tables();
}

OwnSymbols::~OwnSymbols() {
  if (file_ != nullptr) ::munmap(const_cast<std::byte*>(file_), bytes_);
}

void OwnSymbols::find_tables() {
  Elf64_Ehdr head;
  if (bytes_ < sizeof head) return;
  std::memcpy(&head, file_, sizeof head);
  if (std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64) return;
  const auto section = [&](size_t i, Elf64_Shdr& out) {
    const size_t at = head.e_shoff + i * sizeof out;
    if (i >= head.e_shnum || at + sizeof out > bytes_) return false;
    std::memcpy(&out, file_ + at, sizeof out);
    return out.sh_offset <= bytes_ && out.sh_size <= bytes_ - out.sh_offset;
  };
  for (size_t i = 0; i < head.e_shnum; ++i) {
    Elf64_Shdr table, names;
    if (!section(i, table) || table.sh_type != SHT_SYMTAB || !section(table.sh_link, names)) continue;
    symbols_ = file_ + table.sh_offset;
    num_symbols_ = table.sh_size / sizeof(Elf64_Sym);
    names_ = reinterpret_cast<const char*>(file_ + names.sh_offset);
    names_bytes_ = names.sh_size;
  }
}

std::string OwnSymbols::name(const void* address) const {
  const uintptr_t wanted = reinterpret_cast<uintptr_t>(address) - loaded_at_;
  for (size_t i = 0; i < num_symbols_; ++i) {
    Elf64_Sym symbol;
    std::memcpy(&symbol, symbols_ + i * sizeof symbol, sizeof symbol);
    if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || wanted < symbol.st_value ||
        wanted >= symbol.st_value + symbol.st_size || symbol.st_name >= names_bytes_) {
      continue;
    }
    return demangled(names_ + symbol.st_name);
  }
  return "";
}

}  // namespace snell::core
