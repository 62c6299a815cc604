#include "snell/dist/replicas.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "snell/core/hash.h"
#include "snell/core/text.h"

namespace snell::dist {

using core::Hash128;

static_assert(std::is_trivially_copyable_v<Hash128> && sizeof(Hash128) == 16);

namespace {

std::string layout_of(std::span<const NamedTensor> tensors) {
  std::string layout;
  for (const auto& [name, tensor] : tensors) layout += core::str(name, tensor.sizes(), tensor.scalar_type(), "\n");
  return layout;
}

Hash128 bytes_hash(const at::Tensor& tensor) {
  const at::Tensor host = tensor.detach().to(at::kCPU).contiguous();
  return core::hash128(host.data_ptr(), host.nbytes());
}

// The hashes of all tensors, one after the other.
std::string hashes_of(std::span<const NamedTensor> tensors) {
  std::string out;
  out.reserve(tensors.size() * sizeof(Hash128));
  for (const auto& named : tensors) {
    const Hash128 hash = bytes_hash(named.tensor);
    out.append(reinterpret_cast<const char*>(&hash), sizeof hash);
  }
  return out;
}

// The name of the first tensor whose hash differs.
std::string first_difference(std::span<const NamedTensor> tensors, const std::string& ours, const std::string& theirs) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (ours.compare(i * sizeof(Hash128), sizeof(Hash128), theirs, i * sizeof(Hash128), sizeof(Hash128)) != 0) {
      return tensors[i].name;
    }
  }
  return "the number of tensors";
}

[[noreturn]] void report_difference(std::span<const NamedTensor> trainables, const std::vector<std::string>& hashes,
                                    int64_t step) {
  std::vector<std::string> ranks;
  std::string first;
  for (size_t rank = 1; rank < hashes.size(); ++rank) {
    if (hashes[rank] == hashes[0]) continue;
    if (first.empty()) first = first_difference(trainables, hashes[0], hashes[rank]);
    ranks.push_back(std::to_string(rank));
  }
  throw core::ReplicaError(core::str("at step ", step, " the trainable parameters of rank",
                                     ranks.size() > 1 ? "s " : " ", core::join(ranks),
                                     " differ from rank 0's; the first that differs is '", first,
                                     "'. Resume from the last checkpoint; if it comes again, suspect the hardware of ",
                                     ranks.size() > 1 ? "those nodes" : "that node"));
}

}  // namespace

void check_same_layout(std::span<const NamedTensor> tensors, Communicator& communicator) {
  const bool planned = !tensors.empty() && tensors.front().tensor.is_meta();  // snell plan: there are no other ranks
  if (communicator.size() == 1 || planned) return;
  const std::string layout = layout_of(tensors);
  const Hash128 hash = core::hash128(layout.data(), layout.size());
  at::Tensor ours = at::empty({sizeof hash}, at::kByte);
  std::memcpy(ours.data_ptr(), &hash, sizeof hash);
  const at::Device device = tensors.empty() ? at::Device(at::kCPU) : tensors.front().tensor.device();
  at::Tensor all =
      at::empty({communicator.size(), static_cast<int64_t>(sizeof hash)}, at::device(device).dtype(at::kByte));
  communicator.all_gather(ours.to(device), all);
  all = all.cpu();
  for (int rank = 1; rank < communicator.size(); ++rank) {
    if (all[rank].equal(all[0])) continue;
    throw core::ReplicaError(core::str("rank ", rank,
                                       " has other trainable parameters than rank 0 (names, shapes or types); "
                                       "this rank has ",
                                       tensors.size(), ". Start every rank with the same config"));
  }
}

void broadcast_parameters(std::span<const NamedTensor> trainables, Communicator& communicator) {
  check_same_layout(trainables, communicator);
  for (const auto& named : trainables) communicator.broadcast(named.tensor.detach(), 0);
}

void check_replicas(std::span<const NamedTensor> trainables, ControlPlane& control, int64_t step) {
  const std::string hashes = hashes_of(trainables);
  const Hash128 all = core::hash128(hashes.data(), hashes.size());
  const auto folded = control.all_gather_ints(static_cast<int64_t>(all.low ^ all.high));
  if (std::all_of(folded.begin(), folded.end(), [&](int64_t one) { return one == folded.front(); })) return;
  report_difference(trainables, control.all_gather_strings(hashes), step);
}

}  // namespace snell::dist
