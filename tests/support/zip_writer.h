// A zip archive of stored entries, byte for byte, for tests of readers (libzip would refuse to write the bad ones).
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>

namespace snell::test {

class ZipWriter {
 public:
  // `align` pads the header as torch does, so that the content starts at a multiple of it.
  void add(const std::string& name, const std::string& content, size_t align = 1) {
    const auto crc = static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(content.data()), content.size()));
    const auto size = number(static_cast<uint32_t>(content.size()));
    const size_t begin = out_.size();
    std::string padding;
    while (align > 1 && (begin + 30 + name.size() + 4 + padding.size()) % align != 0) padding += 'Z';
    const std::string extra = align > 1 ? "FB" + number(static_cast<uint16_t>(padding.size())) + padding : "";
    const std::string numbers =
        std::string(8, '\0') + number(crc) + size + size + number(static_cast<uint16_t>(name.size()));
    out_ += "PK\3\4" + number(uint16_t{20}) + numbers + number(static_cast<uint16_t>(extra.size())) + name + extra;
    out_ += content;
    directory_ += "PK\1\2" + number(uint16_t{20}) + number(uint16_t{20}) + numbers + std::string(12, '\0') +
                  number(static_cast<uint32_t>(begin)) + name;
    ++count_;
  }

  std::string finish() const {
    return out_ + directory_ + "PK\5\6" + number(uint32_t{0}) + number(count_) + number(count_) +
           number(static_cast<uint32_t>(directory_.size())) + number(static_cast<uint32_t>(out_.size())) +
           number(uint16_t{0});
  }

 private:
  template <class T>
  static std::string number(T value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
  }

  std::string out_, directory_;
  uint16_t count_ = 0;
};

}  // namespace snell::test
