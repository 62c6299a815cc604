// Finding and reading checkpoints; nothing is believed before its checksum.
#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include "snell/ckpt/checkpoint.h"
#include "snell/ckpt/tensors.h"
#include "snell/core/error.h"
#include "snell/core/hash.h"
#include "snell/core/log.h"
#include "snell/dist/control_plane.h"
#include "snell/io/tensor_source.h"
#include "store.h"

namespace snell::ckpt {

using core::str;
using core::WeightsError;

static constexpr size_t kNamesShown = 5;

// The newest whole checkpoint for which `wanted`; "" when there is none such. Damaged ones are named and counted.
static std::string newest(const std::vector<Entry>& entries, bool best_only, size_t& damaged) {
  for (const Entry& entry : entries) {
    try {
      const Manifest manifest = read_manifest(entry.path);
      if (best_only && !manifest.is_best) continue;
      verify_files(entry.path, manifest);
      return entry.path;
    } catch (const WeightsError& error) {
      ++damaged;
      core::log_warning(str("checkpoint ", entry.path, " is not whole and is passed over: ", error.what()));
    }
  }
  return "";
}

static std::optional<std::string> find(const std::string& run_dir, dist::ControlPlane& control,
                                       const CheckpointConfig& config, bool prefer_best) {
  const std::string path = control.root_decides([&] {
    const std::string root = checkpoint_root(run_dir, config);
    const std::vector<Entry> entries = list_checkpoints(root);
    size_t damaged = 0;
    std::string found = prefer_best ? newest(entries, true, damaged) : "";
    if (found.empty()) found = newest(entries, false, damaged);
    if (found.empty() && !entries.empty()) {
      throw WeightsError(str("none of the ", entries.size(), " checkpoints in ", root,
                             " is whole (the warnings above say why); move that folder away to start anew"));
    }
    return found;
  });
  return path.empty() ? std::nullopt : std::optional(path);
}

std::optional<std::string> find_latest(const std::string& run_dir, dist::ControlPlane& control,
                                       const CheckpointConfig& config) {
  return find(run_dir, control, config, false);
}

std::optional<std::string> find_best(const std::string& run_dir, dist::ControlPlane& control,
                                     const CheckpointConfig& config) {
  return find(run_dir, control, config, true);
}

// "missing: a, b and 3 more; "
static std::string listed(const char* what, const std::vector<std::string>& names) {
  if (names.empty()) return "";
  const std::span shown(names.data(), std::min(names.size(), kNamesShown));
  const std::string rest = names.size() > shown.size() ? str(" and ", names.size() - shown.size(), " more") : "";
  return str(" ", what, ": ", core::join(shown), rest, ";");
}

static std::string shape_text(at::IntArrayRef shape) {
  io::HostTensor host;
  host.shape = shape.vec();
  return host.shape_text();
}

static void check_names_and_shapes(const std::string& path, const Manifest& manifest, std::span<const TensorRef> into,
                                   const std::string& prefix) {
  std::vector<std::string> missing;
  std::vector<std::string> unexpected;
  std::vector<std::string> different;
  std::map<std::string, const TensorRef*> wanted;
  for (const TensorRef& ref : into) {
    core::check(ref.name.starts_with(prefix), str("the tensor ", ref.name, " does not start with ", prefix));
    core::check(wanted.emplace(ref.name, &ref).second, str("the tensor ", ref.name, " is asked for twice"));
    const auto found = manifest.tensors.find(ref.name);
    if (found == manifest.tensors.end()) {
      missing.push_back(ref.name);
      continue;
    }
    const TensorRecord& record = found->second;
    const char* dtype = io::name_of(file_dtype(ref.tensor.scalar_type()));
    if (record.dtype != dtype || at::IntArrayRef(record.shape) != ref.tensor.sizes()) {
      different.push_back(str(ref.name, " (checkpoint ", record.dtype, " ", shape_text(record.shape), ", model ", dtype,
                              " ", shape_text(ref.tensor.sizes()), ")"));
    }
  }
  for (const auto& [name, record] : manifest.tensors) {
    if (name.starts_with(prefix) && !wanted.contains(name)) unexpected.push_back(name);
  }
  const std::string faults = listed("missing in it", missing) + listed("only in it", unexpected) +
                             listed("of another type or shape", different);
  if (!faults.empty()) {
    throw WeightsError(str("the checkpoint ", path, " does not fit this model:", faults,
                           " resume with the config that wrote it, or start in a new run folder"));
  }
}

static io::HostTensor read_verified(const io::TensorSource& source, const std::string& name,
                                    const TensorRecord& record) {
  io::HostTensor host = source.read(name);
  if (record.dtype != io::name_of(host.dtype) || record.shape != host.shape) {
    throw WeightsError(str(source.path(), ": '", name, "' is ", io::name_of(host.dtype), " ", host.shape_text(),
                           ", its manifest says ", record.dtype, " ", shape_text(record.shape)));
  }
  if (core::hash128(host.bytes).hex() != record.hash) {
    throw WeightsError(str(source.path(), ": '", name, "' is damaged: its checksum differs from its manifest's"));
  }
  return host;
}

Manifest load(const std::string& path, std::span<const TensorRef> into, dist::ControlPlane& control,
              const std::string& prefix) {
  Manifest manifest;
  std::vector<at::Tensor> values;
  control.all_or_none([&] {
    manifest = read_manifest(path);
    check_names_and_shapes(path, manifest, into, prefix);
    verify_files(path, manifest);
    std::map<std::string, std::unique_ptr<io::TensorSource>> sources;
    for (const auto& [name, file] : manifest.files) sources[name] = io::open_tensors(str(path, "/", name));
    for (const TensorRef& ref : into) {
      if (ref.tensor.is_meta()) {  // another rank's
        values.emplace_back();
        continue;
      }
      const TensorRecord& record = manifest.tensors.at(ref.name);
      values.push_back(tensor_copy(read_verified(*sources.at(record.file), ref.name, record)));
    }
  });
  const c10::AutoGradMode no_grad(false);
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i].defined()) at::Tensor(into[i].tensor).copy_(values[i]);
  }
  return manifest;
}

}  // namespace snell::ckpt
