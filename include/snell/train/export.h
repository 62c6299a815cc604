// A trained model written for other programs: one folder with one safetensors file and, where the format has one, a
// config in JSON. docs/weights.md describes the layouts.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "snell/ckpt/checkpoint.h"
#include "snell/core/registry.h"
#include "snell/train/job_config.h"

namespace snell::train {

struct ExportInput {
  const JobConfig& config;
  const peft::TunedModel& model;
  std::vector<std::string> label_names;         // in the order of the classes; empty: not known
  std::map<std::string, std::string> metadata;  // of the weight file: where the model comes from
};

// What a format lays down.
struct ExportFolder {
  std::string tensors_name;  // of the safetensors file
  std::vector<ckpt::TensorRef> tensors;
  std::map<std::string, std::string> metadata;
  std::string config_name, config;  // a file of text; no name: none
  std::string note;                 // a sentence for the person who asked; empty: none
};

// A format, from the model and the setting `type` ("auto" or a name that the format knows). Throws ConfigError for a
// model that the format cannot hold.
using Exporter = std::function<ExportFolder(const ExportInput& input, const std::string& type)>;
// timm, peft, safetensors, delta.
const core::Registry<Exporter>& exporters();

// model.safetensors with timm's names, the adapters merged, and config.json: timm.create_model("local-dir:FOLDER",
// pretrained=True) loads it (timm 1.0).
ExportFolder export_timm(const ExportInput& input, const std::string& type);
// adapter_model.safetensors and adapter_config.json as peft 0.21 saves them. type: shira (sparse ΔW), lora, or this
// project's own snell, which carries the factors and which peft itself does not read; auto takes the first that is
// exact.
ExportFolder export_peft(const ExportInput& input, const std::string& type);
// adapter.safetensors: everything that was trained, under the published code's names, and "thresholds/LAYER".
ExportFolder export_factors(const ExportInput& input, const std::string& type);
// delta.safetensors: of every adapted layer ΔW's entries that are not zero; head and class token whole.
ExportFolder export_delta(const ExportInput& input, const std::string& type);

// Writes the folder: each file to a temporary name, flushed and renamed, the config last. Returns the files' paths.
// Throws WeightsError that names a tensor with a number that is not finite, ConfigError when a file is there already
// and `overwrite` is false, DiskError; nothing is written in the first two cases.
std::vector<std::string> write_export(const ExportFolder& contents, const std::string& folder, bool overwrite);

}  // namespace snell::train
