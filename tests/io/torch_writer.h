// Pickles and files of torch.save, opcode by opcode, so that bad ones can be written too.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "support/zip_writer.h"

namespace snell::test {

template <class T>
std::string le(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

namespace pickle {

inline std::string text(const std::string& value) {
  return "X" + le(static_cast<uint32_t>(value.size())) + value;
}
inline std::string number(int64_t value) {
  return "\x8a\x08" + le(value);
}
inline std::string joined(const std::vector<std::string>& items) {
  std::string out;
  for (const std::string& item : items) out += item;
  return out;
}
inline std::string tuple(const std::vector<std::string>& items) {
  return "(" + joined(items) + "t";
}
inline std::string numbers(const std::vector<int64_t>& values) {
  std::vector<std::string> items;
  for (const int64_t value : values) items.push_back(number(value));
  return tuple(items);
}
// Keys and values in turn.
inline std::string dict(const std::vector<std::string>& items) {
  return "}(" + joined(items) + "u";
}
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string call(const std::string& callable, const std::vector<std::string>& arguments) {
  return callable + tuple(arguments) + "R";
}
inline std::string storage(const std::string& key, int64_t count, const std::string& type = "FloatStorage") {
  return tuple({text("storage"), global("torch", type), text(key), text("cpu"), number(count)}) + "Q";
}
inline std::string tensor(const std::string& of_storage, int64_t offset, const std::vector<int64_t>& shape,
                          const std::vector<int64_t>& strides) {
  return call(global("torch._utils", "_rebuild_tensor_v2"),
              {of_storage, number(offset), numbers(shape), numbers(strides), "\x89",
               call(global("collections", "OrderedDict"), {})});
}
inline std::string whole(const std::string& value) {
  return "\x80\x02" + value + ".";
}

}  // namespace pickle

// A file with one storage "0" of these bytes.
inline std::string torch_zip(const std::string& value, const std::string& storage) {
  ZipWriter zip;
  zip.add("archive/data.pkl", pickle::whole(value));
  zip.add("archive/data/0", storage);
  zip.add("archive/version", "3\n");
  return zip.finish();
}

inline std::string torch_legacy(const std::string& value, const std::string& storage, int64_t count) {
  const std::string magic("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 12);
  return pickle::whole(magic) + pickle::whole(pickle::number(1001)) +
         pickle::whole(pickle::dict({pickle::text("little_endian"), "\x88"})) + pickle::whole(value) +
         pickle::whole("](" + pickle::text("0") + "e") + le(count) + storage;
}

}  // namespace snell::test
