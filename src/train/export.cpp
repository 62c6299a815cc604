#include "snell/train/export.h"

#include <ATen/ops/isfinite.h>

#include <filesystem>

#include "export_tensors.h"
#include "snell/ckpt/trained_file.h"
#include "snell/io/files.h"

namespace snell::train {
namespace {

namespace fs = std::filesystem;
using core::str;

void check_finite(const ckpt::TensorRef& ref) {
  if (!ref.tensor.is_floating_point()) return;
  const auto bad = ref.tensor.numel() - at::isfinite(ref.tensor).sum().item<int64_t>();
  if (bad == 0) return;
  throw core::WeightsError(str("'", ref.name, "' holds ", bad, " of ", ref.tensor.numel(),
                               " numbers that are not finite; nothing was written. Export another checkpoint "
                               "(--checkpoint best, or an older folder), or train again with a lower optim.lr"));
}

core::Registry<Exporter> all_exporters() {
  core::Registry<Exporter> registry("export format");
  registry.add("timm", export_timm);
  registry.add("peft", export_peft);
  registry.add("safetensors", export_factors);
  registry.add("delta", export_delta);
  return registry;
}

}  // namespace

const core::Registry<Exporter>& exporters() {
  static const core::Registry<Exporter> registry = all_exporters();
  return registry;
}

std::vector<ckpt::TensorRef> tuned_published(const peft::TunedModel& model, const std::string& prefix) {
  std::vector<ckpt::TensorRef> out;
  for (const auto& [name, tensor] : model.backbone->published()) {
    if (tensor.requires_grad()) out.push_back({prefix + name, tensor.detach()});
  }
  return out;
}

void refuse_type(const std::string& to, const std::string& type) {
  if (type != "auto") throw core::ConfigError(str("type=", type, " means nothing to to=", to, "; leave it out"));
}

void require_adapter(const ExportInput& input, const std::string& to) {
  if (!input.model.layers.empty()) return;
  throw core::ConfigError(str("to=", to, " needs an adapter, and this run has adapter.name=", input.config.adapter.name,
                              "; use to=timm or to=safetensors"));
}

std::vector<std::string> write_export(const ExportFolder& contents, const std::string& folder, bool overwrite) {
  for (const auto& ref : contents.tensors) check_finite(ref);
  std::vector<std::string> files{folder + "/" + contents.tensors_name};
  if (!contents.config_name.empty()) files.push_back(folder + "/" + contents.config_name);
  for (const auto& file : files) {
    if (overwrite || !fs::exists(file)) continue;
    throw core::ConfigError(str(file, " is there already; choose another out=FOLDER, or overwrite=true replaces it"));
  }
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw core::DiskError(str("cannot make the folder ", folder, ": ", error.message()));
  ckpt::export_trained(files[0], contents.tensors, contents.metadata);
  if (files.size() > 1) io::write_file(files[1], contents.config);
  return files;
}

}  // namespace snell::train
