// The safetensors format (https://github.com/huggingface/safetensors, "Format"): u64 little-endian header length, a
// JSON header, then the tensors' bytes without holes.
#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "formats.h"
#include "safetensors_header.h"
#include "snell/core/error.h"
#include "snell/io/files.h"

static_assert(std::endian::native == std::endian::little, "the file formats are little-endian and read in place");

namespace snell::io {

using core::str;

namespace {

class SafetensorsFile : public TensorSource {
 public:
  explicit SafetensorsFile(const FileBytes& file) : path_(file.path), header_(parse(file)) {
    for (size_t i = 0; i < header_.tensors.size(); ++i) index_.emplace(header_.tensors[i].name, i);
  }

  const std::string& path() const override { return path_; }
  const char* format() const override { return "safetensors"; }
  const std::map<std::string, std::string>& metadata() const override { return header_.metadata; }

  std::vector<std::string> names() const override {
    std::vector<std::string> out;
    for (const TensorEntry& entry : header_.tensors) out.push_back(entry.name);
    return out;
  }

  HostTensor describe(const std::string& name) const override {
    const TensorEntry& entry = find(name);
    return {entry.dtype, entry.shape, {}, nullptr};
  }

  HostTensor read(const std::string& name) const override {
    const TensorEntry& entry = find(name);
    const FileBytes part = data_.part(entry.begin, entry.end - entry.begin);
    HostTensor tensor{entry.dtype, entry.shape, part.bytes, nullptr};
    // The format does not promise alignment, but whoever reads the bytes as numbers needs it.
    if (!is_aligned(tensor)) {
      auto copy = std::make_shared<std::vector<std::byte>>(tensor.bytes.begin(), tensor.bytes.end());
      part.give_back();
      tensor.bytes = *copy;
      tensor.keep_alive = std::move(copy);
    } else {
      tensor.keep_alive = part.lease();
    }
    check_bools(tensor, path_, name);
    return tensor;
  }

  std::optional<HostTensor> in_place(const std::string& name) const override {
    const TensorEntry& entry = find(name);
    const FileBytes part = data_.part(entry.begin, entry.end - entry.begin);
    HostTensor tensor{entry.dtype, entry.shape, part.bytes, part.owner};
    if (!part.mapped || !is_aligned(tensor)) return std::nullopt;
    check_bools(tensor, path_, name);
    return tensor;
  }

  void check_unchanged(const std::string&) const override { data_.check_unchanged(); }

 private:
  static bool is_aligned(const HostTensor& tensor) {
    return reinterpret_cast<uintptr_t>(tensor.bytes.data()) % static_cast<uintptr_t>(size_of(tensor.dtype)) == 0;
  }

  const TensorEntry& find(const std::string& name) const {
    const auto found = index_.find(name);
    if (found == index_.end()) raise_unknown_tensor(*this, name);
    return header_.tensors[found->second];
  }

  SafetensorsHeader parse(const FileBytes& file) {
    const std::span<const std::byte> bytes = file.bytes;
    const auto refuse = [&](const std::string& what) {
      raise_weights_error(
          str("'", file.path, "' is not a sound safetensors file: ", what, "; fetch or write it again"));
    };
    uint64_t length = 0;
    if (bytes.size() < sizeof length) refuse(str("it has only ", bytes.size(), " bytes"));
    std::memcpy(&length, bytes.data(), sizeof length);
    if (length > kMaxSafetensorsHeader) {
      refuse(str("its header claims ", length, " bytes, at most ", kMaxSafetensorsHeader, " are allowed"));
    }
    if (length > bytes.size() - sizeof length) {
      refuse(str("its header claims ", length, " bytes, the file has ", bytes.size(), ": it is cut off"));
    }
    data_ = file.part(sizeof length + length, bytes.size() - sizeof length - length);
    const auto text = bytes.subspan(sizeof length, length);
    SafetensorsHeader header;
    const std::string problem = parse_safetensors_header(
        std::string_view(reinterpret_cast<const char*>(text.data()), text.size()), data_.bytes.size(), header);
    if (!problem.empty()) refuse(problem);
    return header;
  }

  std::string path_;
  FileBytes data_;  // what follows the header
  SafetensorsHeader header_;
  std::map<std::string, size_t> index_;
};

}  // namespace

std::unique_ptr<TensorSource> open_safetensors(const FileBytes& file) {
  return std::make_unique<SafetensorsFile>(file);
}

void stream_safetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::set<std::string> seen{"__metadata__"};
  uint64_t offset = 0;
  for (const auto& tensor : tensors) {
    core::check(seen.insert(tensor.name).second, str("two tensors named '", tensor.name, "' for '", path, "'"));
    const auto bytes = byte_count(tensor.dtype, tensor.shape);
    core::check(bytes.has_value(), str("tensor '", tensor.name, "' is too large for '", path, "'"));
    const uint64_t end = offset + static_cast<uint64_t>(*bytes);
    header[tensor.name] = {{"dtype", name_of(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();  // refuses names that are not UTF-8
  text.append((8 - text.size() % 8) % 8, ' ');
  core::check(text.size() <= kMaxSafetensorsHeader, str("too many tensors for one safetensors file, '", path, "'"));

  AtomicFile file(path);
  const uint64_t length = text.size();
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(text);
  for (const auto& tensor : tensors) {
    const HostTensor made = tensor.make();
    core::check(made.dtype == tensor.dtype && made.shape == tensor.shape &&
                    byte_count(made.dtype, made.shape) == static_cast<int64_t>(made.bytes.size()),
                str("tensor '", tensor.name, "' ", shape_text(tensor.shape), " comes as ", made.shape_text(), " with ",
                    made.bytes.size(), " bytes"));
    file.write(made.bytes);
  }
  file.commit();
}

void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, HostTensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<TensorToWrite> out;
  out.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) {
    out.push_back({name, tensor.dtype, tensor.shape, [&held = tensor] { return held; }});
  }
  stream_safetensors(path, out, metadata);
}

}  // namespace snell::io
