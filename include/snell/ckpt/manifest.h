// manifest.json: what a checkpoint folder holds, written last. Format version 1, plain JSON:
//
//   {"checksum": XXH3-128 of this file's bytes with these 32 digits as zeros, "format": "snell-checkpoint", "version":
//   1,
//    "step", "epoch", "step_in_epoch", "samples_seen", "seed", "world_size", "config_hash", "is_best", "written_at",
//    "metrics": {…}, "extra": {…},
//    "files":   {NAME: {"bytes", "xxh3_128"}},
//    "tensors": {NAME: {"file", "dtype", "shape", "xxh3_128" of the data bytes}}}
//
// The files are safetensors, so that Python reads a checkpoint with its json and safetensors modules alone.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace snell::ckpt {

struct FileRecord {
  int64_t bytes = 0;
  std::string hash;  // 32 hexadecimal digits
};

struct TensorRecord {
  std::string file;
  std::string dtype;  // safetensors' names
  std::vector<int64_t> shape;
  std::string hash;
};

struct Manifest {
  int64_t step = 0;           // optimizer steps done
  int64_t epoch = 0;          // epochs done
  int64_t step_in_epoch = 0;  // steps done of the epoch that was under way
  int64_t samples_seen = 0;
  uint64_t seed = 0;  // the random streams are functions of (seed, step, …): this is their whole state
  int64_t world_size = 1;
  std::string config_hash;
  bool is_best = false;
  int64_t written_at = 0;                             // seconds since 1970
  nlohmann::json metrics = nlohmann::json::object();  // a number that is not finite is null
  nlohmann::json extra = nlohmann::json::object();    // whatever the run wants back
  std::map<std::string, FileRecord> files;
  std::map<std::string, TensorRecord> tensors;

  int64_t total_bytes() const;
};

inline constexpr const char* kManifestName = "manifest.json";

// The file's text, checksum included.
std::string manifest_text(const Manifest& manifest);

// Throws WeightsError that names `path` and the field for anything that is not a whole manifest of a known version.
Manifest parse_manifest(const std::string& text, const std::string& path);

// Reads <folder>/manifest.json. Throws WeightsError.
Manifest read_manifest(const std::string& folder);

// Size and checksum of a file. Throws WeightsError when it cannot be read.
FileRecord record_file(const std::string& path);

// Throws WeightsError unless every file is there with the manifest's size.
void verify_sizes(const std::string& folder, const Manifest& manifest);

// Throws WeightsError unless every file is there with the manifest's size and checksum (of the whole file).
void verify_files(const std::string& folder, const Manifest& manifest);

}  // namespace snell::ckpt
