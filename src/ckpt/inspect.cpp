#include "snell/ckpt/inspect.h"

#include <sstream>

#include "snell/ckpt/manifest.h"
#include "snell/core/error.h"
#include "snell/core/text.h"
#include "snell/io/host_tensor.h"
#include "store.h"

namespace snell::ckpt {

using core::str;

static std::string shape_text(const std::vector<int64_t>& shape) {
  io::HostTensor host;
  host.shape = shape;
  return host.shape_text();
}

static std::string as_text(const std::string& path, const Manifest& m, const std::string& checksums) {
  std::ostringstream out;
  out << "checkpoint    " << path << "\n"
      << "format        snell-checkpoint 1: safetensors shards and manifest.json\n"
      << "step          " << m.step << " (epoch " << m.epoch << ", step " << m.step_in_epoch << " of it; "
      << m.samples_seen << " samples seen)\n"
      << "seed          " << m.seed << "\n"
      << "written by    " << m.world_size << (m.world_size == 1 ? " rank" : " ranks") << ", config " << m.config_hash
      << "\n"
      << "best so far   " << (m.is_best ? "yes" : "no") << "\n"
      << "metrics       " << m.metrics.dump() << "\n"
      << "size          " << core::human_bytes(static_cast<double>(m.total_bytes())) << " in " << m.files.size()
      << (m.files.size() == 1 ? " file\n" : " files\n") << "checksums     " << checksums << "\n";
  size_t width = 0;
  for (const auto& [name, tensor] : m.tensors) width = std::max(width, name.size());
  for (const auto& [name, tensor] : m.tensors) {
    out << "  " << name << std::string(width - name.size() + 2, ' ') << tensor.dtype << " " << shape_text(tensor.shape)
        << "\n";
  }
  return out.str();
}

Inspection inspect_checkpoint(const std::string& path, bool verify) {
  const Manifest m = read_manifest(path);
  Inspection result;
  std::string damage;
  try {
    if (verify) verify_files(path, m);
    result.verified = verify;
  } catch (const core::WeightsError& error) {
    damage = error.what();
  }
  result.text = as_text(path, m, !damage.empty() ? "DAMAGED: " + damage : verify ? "all verified" : "not looked at");
  result.json = nlohmann::json::parse(manifest_text(m));
  result.json.erase("checksum");
  result.json["path"] = path;
  result.json["verified"] = result.verified;
  if (!damage.empty()) result.json["damage"] = damage;
  return result;
}

std::vector<std::string> checkpoint_folders(const std::string& root) {
  std::vector<std::string> folders;
  for (const Entry& entry : list_checkpoints(root)) folders.push_back(entry.path);
  return folders;
}

}  // namespace snell::ckpt
