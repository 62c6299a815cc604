// Names of this program's functions by address, from the symbol table of its file (ELF-64 gABI, "Symbol Table").
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace snell::core {

class OwnSymbols {
 public:
  // Maps /proc/self/exe; knows no names when that fails or the program was stripped.
  OwnSymbols();
  ~OwnSymbols();
  OwnSymbols(const OwnSymbols&) = delete;
  OwnSymbols& operator=(const OwnSymbols&) = delete;

  // Of the function that holds the address, as C++ writes it; "" for one outside the program.
  std::string name(const void* address) const;

 private:
  void find_tables();

  const std::byte* file_ = nullptr;
  size_t bytes_ = 0;
  const std::byte* symbols_ = nullptr;  // in the file
  size_t num_symbols_ = 0;
  const char* names_ = nullptr;
  size_t names_bytes_ = 0;
  uintptr_t loaded_at_ = 0;
};

}  // namespace snell::core
