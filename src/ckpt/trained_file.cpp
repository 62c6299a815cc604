#include "snell/ckpt/trained_file.h"

#include "snell/ckpt/tensors.h"
#include "snell/core/error.h"
#include "snell/core/hash.h"
#include "snell/io/tensor_source.h"

namespace snell::ckpt {

using core::str;
using core::WeightsError;
using nlohmann::json;

static constexpr const char* kTensorsKey = "snell.tensors";
static constexpr const char* kMetadataKey = "snell.metadata";

// Over every pair but the checksum itself; lengths keep neighbours apart.
static std::string hash_metadata(const std::map<std::string, std::string>& metadata) {
  core::Hasher hasher;
  for (const auto& [key, value] : metadata) {
    if (key == kMetadataKey) continue;
    const std::string record = str(key.size(), ":", key, value.size(), ":", value);
    hasher.add(record.data(), record.size());
  }
  return hasher.finish().hex();
}

static std::string fingerprint(const io::HostTensor& tensor) {
  return str(io::name_of(tensor.dtype), " ", tensor.shape_text(), " ", core::hash128(tensor.bytes).hex());
}

void export_trained(const std::string& path, const std::vector<TensorRef>& tensors,
                    const std::map<std::string, std::string>& metadata) {
  std::map<std::string, std::string> all = metadata;
  for (const auto& [key, value] : metadata) {
    core::check(!key.starts_with("snell."), str("the metadata key ", key, " is reserved"));
  }
  std::vector<std::pair<std::string, io::HostTensor>> contents;
  json prints = json::object();
  for (const TensorRef& ref : tensors) {
    contents.emplace_back(ref.name, host_tensor(ref.tensor));
    core::check(!prints.contains(ref.name), str("the tensor ", ref.name, " is there twice"));
    prints[ref.name] = fingerprint(contents.back().second);
  }
  all[kTensorsKey] = prints.dump();
  all[kMetadataKey] = hash_metadata(all);
  io::write_safetensors(path, contents, all);
}

TrainedFile import_trained(const std::string& path) {
  const auto source = io::open_tensors(path);
  TrainedFile file;
  file.metadata = source->metadata();
  if (!file.metadata.contains(kTensorsKey) || !file.metadata.contains(kMetadataKey)) {
    throw WeightsError(str(path, " is not a file of trained parameters: it has no ", kTensorsKey,
                           " in its metadata; give the model.safetensors of a run"));
  }
  if (file.metadata.at(kMetadataKey) != hash_metadata(file.metadata)) {
    throw WeightsError(str(path, " is damaged: the checksum of its metadata is wrong"));
  }
  const json prints = json::parse(file.metadata.at(kTensorsKey), nullptr, false);
  if (!prints.is_object() || prints.size() != source->names().size()) {
    throw WeightsError(str(path, " is damaged: ", kTensorsKey, " does not list its tensors"));
  }
  for (const std::string& name : source->names()) {
    const io::HostTensor host = source->read(name);
    const auto print = prints.find(name);
    if (print == prints.end() || !print->is_string() || *print != fingerprint(host)) {
      throw WeightsError(str(path, " is damaged: '", name, "' has another type, shape or checksum than it states"));
    }
    file.tensors.push_back({name, tensor_copy(host)});
  }
  file.metadata.erase(kTensorsKey);
  file.metadata.erase(kMetadataKey);
  return file;
}

}  // namespace snell::ckpt
