// A mutation that libFuzzer cannot find: the content of one entry of a zip archive changed, and every checksum and size
// right again. (Half of the mutations are libFuzzer's own, of the archive's bytes.)
#pragma once

#include <cstring>
#include <string>

#include "snell/core/error.h"
#include "src/io/zip_file.h"
#include "tests/support/zip_writer.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace snell::fuzz {

inline size_t mutate_zip(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  if (seed % 2 == 0) return LLVMFuzzerMutate(data, size, max_size);
  try {
    const auto* bytes = reinterpret_cast<const std::byte*>(data);
    const io::ZipFile zip(io::FileBytes::of("mutated", {bytes, bytes + size}));
    test::ZipWriter writer;
    const size_t chosen = zip.entries().empty() ? 0 : seed / 2 % zip.entries().size();
    for (size_t i = 0; i < zip.entries().size(); ++i) {
      const io::FileBytes content = zip.read(zip.entries()[i], 1 << 20);
      std::string text(reinterpret_cast<const char*>(content.bytes.data()), content.bytes.size());
      if (i == chosen) {
        const size_t old = text.size();
        text.resize(old + 64);
        text.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(text.data()), old, text.size()));
      }
      writer.add(zip.entries()[i].name, text);
    }
    const std::string out = writer.finish();
    if (out.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
    std::memcpy(data, out.data(), out.size());
    return out.size();
  } catch (const core::WeightsError&) {
    return LLVMFuzzerMutate(data, size, max_size);
  }
}

}  // namespace snell::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return snell::fuzz::mutate_zip(data, size, max_size, seed);
}
