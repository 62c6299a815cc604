// Writing a checkpoint: shards by all ranks, then the manifest and the rename by rank 0, each step agreed by all.
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <random>
#include <set>

#include "snell/ckpt/checkpoint.h"
#include "snell/ckpt/tensors.h"
#include "snell/core/error.h"
#include "snell/core/hash.h"
#include "snell/core/timer.h"
#include "snell/dist/control_plane.h"
#include "snell/io/files.h"
#include "snell/io/tensor_source.h"
#include "store.h"

namespace snell::ckpt {

using core::str;
using nlohmann::json;

// Of each tensor, '1' where this rank has it.
static std::string held_by_this_rank(const std::vector<TensorRef>& tensors) {
  std::string held;
  for (const TensorRef& ref : tensors) held += ref.tensor.is_meta() ? '0' : '1';
  return held;
}

// Which rank writes which tensor: largest first, each to the rank with the least so far of those that have it. The same
// on every rank. `held`: held_by_this_rank() of all ranks.
static std::vector<std::vector<const TensorRef*>> share_out(const std::vector<TensorRef>& tensors,
                                                            const std::vector<std::string>& held) {
  std::vector<const TensorRef*> order;
  std::set<std::string> names;
  for (const TensorRef& ref : tensors) {
    core::check(names.insert(ref.name).second, str("the tensor ", ref.name, " is in the state twice"));
    order.push_back(&ref);
  }
  core::check(!order.empty(), "a checkpoint needs at least one tensor");
  for (const std::string& of_rank : held) {
    core::check(of_rank.size() == tensors.size(), "the ranks save different numbers of tensors");
  }
  std::sort(order.begin(), order.end(), [](const TensorRef* a, const TensorRef* b) {
    return a->tensor.nbytes() != b->tensor.nbytes() ? a->tensor.nbytes() > b->tensor.nbytes() : a->name < b->name;
  });
  std::vector<std::vector<const TensorRef*>> parts(held.size());
  std::vector<size_t> load(parts.size());
  for (const TensorRef* ref : order) {
    const auto number = static_cast<size_t>(ref - tensors.data());
    std::optional<size_t> lightest;
    for (size_t rank = 0; rank < held.size(); ++rank) {
      if (held[rank][number] == '1' && (!lightest || load[rank] < load[*lightest])) lightest = rank;
    }
    core::check(lightest.has_value(), str("no rank has the tensor ", ref->name));
    parts[*lightest].push_back(ref);
    load[*lightest] += ref->tensor.nbytes() + 1;  // so that empty tensors, too, go round
  }
  return parts;
}

// The number of a rank's shard among those that hold something, and how many there are.
static std::pair<size_t, size_t> shard_number(const std::vector<std::vector<const TensorRef*>>& parts, size_t rank) {
  const auto holds = [](const auto& part) { return !part.empty(); };
  const auto begin = parts.begin(), mine = begin + static_cast<int64_t>(rank);
  return {static_cast<size_t>(std::count_if(begin, mine, holds)),
          static_cast<size_t>(std::count_if(begin, parts.end(), holds))};
}

static std::string shard_name(size_t index, size_t count) {
  char text[64];
  std::snprintf(text, sizeof text, "shard-%05zu-of-%05zu.safetensors", index, count);
  return text;
}

static std::string new_token() {
  std::random_device device;
  const uint64_t bits = (static_cast<uint64_t>(device()) << 32) ^ device() ^
                        static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(bits));
  return text;
}

// Writes this rank's shard, reads it back, and returns its part of the manifest as JSON.
static std::string write_shard(const std::string& folder, const std::string& name,
                               const std::vector<const TensorRef*>& part) {
  std::vector<std::pair<std::string, io::HostTensor>> contents;
  json tensors = json::object();
  for (const TensorRef* ref : part) {
    io::HostTensor host = host_tensor(ref->tensor);
    tensors[ref->name] = {{"file", name},
                          {"dtype", io::name_of(host.dtype)},
                          {"shape", host.shape},
                          {"xxh3_128", core::hash128(host.bytes).hex()}};
    contents.emplace_back(ref->name, std::move(host));
  }
  const std::string path = str(folder, "/", name);
  io::write_safetensors(path, contents);
  const auto back = io::open_tensors(path);
  for (const auto& [tensor, host] : contents) {
    if (core::hash128(back->read(tensor).bytes) != core::hash128(host.bytes)) {
      throw core::DiskError(str(path, ": '", tensor, "' does not read back as it was written; check the disk"));
    }
  }
  const FileRecord record = record_file(path);
  return json{{"file", name}, {"bytes", record.bytes}, {"xxh3_128", record.hash}, {"tensors", tensors}}.dump();
}

static Manifest make_manifest(const TrainState& state, int ranks, bool is_best, const std::vector<std::string>& parts) {
  Manifest m;
  m.step = state.step;
  m.epoch = state.epoch;
  m.step_in_epoch = state.step_in_epoch;
  m.samples_seen = state.samples_seen;
  m.seed = state.seed;
  m.world_size = ranks;
  m.config_hash = state.config_hash;
  m.is_best = is_best;
  m.written_at =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  m.metrics = state.metrics;
  m.extra = state.extra;
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    const json j = json::parse(part);
    m.files[j.at("file")] = {j.at("bytes"), j.at("xxh3_128")};
    for (const auto& [name, t] : j.at("tensors").items()) {
      m.tensors[name] = {t.at("file"), t.at("dtype"), t.at("shape"), t.at("xxh3_128")};
    }
  }
  return m;
}

// A run folder on each node's own disk would give a checkpoint that misses the other nodes' shards.
static void check_shards_visible(const std::string& folder, const Manifest& manifest) {
  try {
    verify_sizes(folder, manifest);
  } catch (const core::WeightsError& error) {
    throw core::DiskError(str("rank 0 does not see all shards (", error.what(),
                              "): the run's folder must be on a filesystem that all nodes share"));
  }
}

// Runs `work` on all ranks; when it fails on any, the unfinished folder goes and all ranks throw.
static void write_together(dist::ControlPlane& control, const std::string& tmp, const std::function<void()>& work) {
  try {
    control.all_or_none(work);
  } catch (...) {
    if (control.is_root()) remove_folder(tmp);
    throw;
  }
}

CheckpointInfo save(const std::string& run_dir, const TrainState& state, dist::ControlPlane& control,
                    const CheckpointConfig& config, bool is_best) {
  core::Timer timer;
  const std::string root = checkpoint_root(run_dir, config);
  const std::string token = control.root_decides([&] {
    const std::string mine = new_token();
    make_folder(root);
    remove_unfinished(root);
    make_folder(unfinished_path(root, state.step, mine));
    return mine;
  });
  const std::string tmp = unfinished_path(root, state.step, token);

  std::string mine;
  const auto held = control.all_gather_strings(held_by_this_rank(state.tensors));
  write_together(control, tmp, [&] {
    const auto shares = share_out(state.tensors, held);
    const auto rank = static_cast<size_t>(control.rank());
    const auto [number, count] = shard_number(shares, rank);
    if (!shares[rank].empty()) mine = write_shard(tmp, shard_name(number, count), shares[rank]);
  });

  const Manifest manifest = make_manifest(state, control.size(), is_best, control.all_gather_strings(mine));
  write_together(control, tmp, [&] {
    if (!control.is_root()) return;
    check_shards_visible(tmp, manifest);
    io::write_file(str(tmp, "/", kManifestName), manifest_text(manifest));
    commit(root, tmp, state.step, token);
  });

  control.all_or_none([&] {
    if (control.is_root()) prune(root, state.step, config.keep, config.keep_best, token);
  });
  return {str(root, "/", step_name(state.step)), state.step, manifest.total_bytes(), timer.seconds()};
}

}  // namespace snell::ckpt
