#include "snell/ckpt/manifest.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <string_view>

#include "snell/core/error.h"
#include "snell/core/hash.h"
#include "snell/io/files.h"

namespace snell::ckpt {

using core::str;
using core::WeightsError;
using nlohmann::json;

static constexpr const char* kFormat = "snell-checkpoint";
static constexpr int64_t kVersion = 1;
static constexpr uint64_t kMaxManifestBytes = 256 << 20;
static constexpr size_t kHashDigits = 32;
static constexpr std::string_view kHead = "{\n\"checksum\": \"";
static constexpr int kMaxDepth = 64;

int64_t Manifest::total_bytes() const {
  int64_t total = 0;
  for (const auto& [name, file] : files) total += file.bytes;
  return total;
}

std::string manifest_text(const Manifest& m) {
  json body = {{"format", kFormat},
               {"version", kVersion},
               {"step", m.step},
               {"epoch", m.epoch},
               {"step_in_epoch", m.step_in_epoch},
               {"samples_seen", m.samples_seen},
               {"seed", m.seed},
               {"world_size", m.world_size},
               {"config_hash", m.config_hash},
               {"is_best", m.is_best},
               {"written_at", m.written_at},
               {"metrics", m.metrics},
               {"extra", m.extra},
               {"files", json::object()},
               {"tensors", json::object()}};
  for (const auto& [name, file] : m.files) body["files"][name] = {{"bytes", file.bytes}, {"xxh3_128", file.hash}};
  for (const auto& [name, tensor] : m.tensors) {
    body["tensors"][name] = {
        {"file", tensor.file}, {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"xxh3_128", tensor.hash}};
  }
  // The checksum comes first, at a fixed place, so that it can cover every other byte of the file.
  std::string text = std::string(kHead) + std::string(kHashDigits, '0') + "\"," + body.dump(1).substr(1) + "\n";
  text.replace(kHead.size(), kHashDigits, core::hash128(text.data(), text.size()).hex());
  return text;
}

static void verify_checksum(std::string text, const std::string& path) {
  if (text.size() < kHead.size() + kHashDigits || !text.starts_with(kHead)) {
    throw WeightsError(str(path, " does not start as a manifest: it is damaged or was not written by this program"));
  }
  const std::string stated = text.substr(kHead.size(), kHashDigits);
  text.replace(kHead.size(), kHashDigits, std::string(kHashDigits, '0'));
  if (core::hash128(text.data(), text.size()).hex() != stated) {
    throw WeightsError(str(path, " is damaged: its checksum differs from the one it states"));
  }
}

// A bare name: nothing in a manifest may point outside its folder.
static const std::string& plain_name(const std::string& name, const std::string& path) {
  if (name.empty() || name.starts_with('.') || name.find('/') != std::string::npos ||
      name.find('\0') != std::string::npos) {
    throw WeightsError(str(path, " names the file '", name, "', which is not a plain file name"));
  }
  return name;
}

// A JSON integer that is not negative; a float would be cut in silence.
static int64_t count_of(const json& object, const char* key, const std::string& path) {
  const json& value = object.at(key);
  if (!value.is_number_integer() || (!value.is_number_unsigned() && value.get<int64_t>() < 0) ||
      value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    throw WeightsError(str(path, ": '", key, "' must be a whole number >= 0, not ", value.dump()));
  }
  return value.get<int64_t>();
}

static TensorRecord tensor_record(const json& j, const std::string& path) {
  TensorRecord record{
      j.at("file").get<std::string>(), j.at("dtype").get<std::string>(), {}, j.at("xxh3_128").get<std::string>()};
  const json& shape = j.at("shape");
  for (size_t i = 0; i < shape.size(); ++i) {
    if (!shape.at(i).is_number_unsigned()) throw WeightsError(str(path, ": a shape is not a list of whole numbers"));
    record.shape.push_back(shape.at(i).get<int64_t>());
  }
  return record;
}

static Manifest read_fields(const json& j, const std::string& path) {
  Manifest m;
  if (j.at("format").get<std::string>() != kFormat) throw WeightsError(str(path, " is not a checkpoint's manifest"));
  if (const int64_t version = count_of(j, "version", path); version != kVersion) {
    throw WeightsError(
        str(path, " has format version ", version, "; this program reads version ", kVersion, ": use a matching one"));
  }
  m.step = count_of(j, "step", path);
  m.epoch = count_of(j, "epoch", path);
  m.step_in_epoch = count_of(j, "step_in_epoch", path);
  m.samples_seen = count_of(j, "samples_seen", path);
  m.world_size = count_of(j, "world_size", path);
  m.written_at = count_of(j, "written_at", path);
  m.seed = j.at("seed").get<uint64_t>();
  j.at("config_hash").get_to(m.config_hash);
  j.at("is_best").get_to(m.is_best);
  m.metrics = j.at("metrics");
  m.extra = j.at("extra");
  int64_t total = 0;
  for (const auto& [name, file] : j.at("files").items()) {
    FileRecord record{count_of(file, "bytes", path), file.at("xxh3_128").get<std::string>()};
    if (__builtin_add_overflow(total, record.bytes, &total)) throw WeightsError(str(path, ": sizes are too large"));
    m.files[plain_name(name, path)] = std::move(record);
  }
  for (const auto& [name, tensor] : j.at("tensors").items()) {
    TensorRecord record = tensor_record(tensor, path);
    if (!m.files.contains(record.file)) {
      throw WeightsError(str(path, " places '", name, "' in '", record.file, "', which is not among its files"));
    }
    m.tensors[name] = std::move(record);
  }
  return m;
}

Manifest parse_manifest(const std::string& text, const std::string& path) {
  verify_checksum(text, path);
  try {
    // Copying and freeing deep nests recurses.
    const auto shallow = [&](int depth, json::parse_event_t, json&) {
      if (depth > kMaxDepth) throw WeightsError(str(path, " is nested deeper than ", kMaxDepth));
      return true;
    };
    return read_fields(json::parse(text, shallow), path);
  } catch (const json::exception& error) {
    throw WeightsError(str(path, " is not a whole manifest: ", error.what()));
  }
}

Manifest read_manifest(const std::string& folder) {
  const std::string path = str(folder, "/", kManifestName);
  const std::vector<std::byte> bytes = io::read_file(path, kMaxManifestBytes, io::raise_weights_error);
  return parse_manifest({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}

// A block at a time: a shard may be larger than what memory is left.
static std::string hash_of_file(const io::FileDescriptor& file, const std::string& path) {
  core::Hasher hasher;
  std::vector<std::byte> block(1 << 20);
  for (;;) {
    const ssize_t got = ::read(file.get(), block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw WeightsError(str("cannot read ", path, ": ", std::strerror(errno)));
    if (got == 0) return hasher.finish().hex();
    hasher.add(block.data(), static_cast<size_t>(got));
  }
}

FileRecord record_file(const std::string& path) {
  const io::FileDescriptor file = io::open_for_reading(path, io::raise_weights_error);
  return {static_cast<int64_t>(io::size_of_file(file, path, io::raise_weights_error)), hash_of_file(file, path)};
}

void verify_sizes(const std::string& folder, const Manifest& manifest) {
  for (const auto& [name, record] : manifest.files) {
    const std::string path = str(folder, "/", name);
    const io::FileDescriptor file = io::open_for_reading(path, io::raise_weights_error);
    const auto size = static_cast<int64_t>(io::size_of_file(file, path, io::raise_weights_error));
    if (size != record.bytes) {
      throw WeightsError(
          str(path, " has ", size, " bytes, its manifest says ", record.bytes, ": it is cut off or was changed"));
    }
  }
}

void verify_files(const std::string& folder, const Manifest& manifest) {
  verify_sizes(folder, manifest);
  for (const auto& [name, record] : manifest.files) {
    const std::string path = str(folder, "/", name);
    if (record_file(path).hash != record.hash) {
      throw WeightsError(str(path, " is damaged: its checksum differs from its manifest's"));
    }
  }
}

}  // namespace snell::ckpt
