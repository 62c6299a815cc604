#include "snell/train/update_share.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <numeric>

namespace snell::train {
namespace {

constexpr int64_t kAlign = 16;  // bytes: where any type may begin

int64_t padded_bytes(const at::Tensor& tensor) {
  return (static_cast<int64_t>(tensor.nbytes()) + kAlign - 1) / kAlign * kAlign;
}

// The part of `bytes` at `offset`, as a tensor like `tensor`.
at::Tensor place_of(const at::Tensor& tensor, const at::Tensor& bytes, int64_t offset) {
  return bytes.narrow(0, offset, static_cast<int64_t>(tensor.nbytes())).view(tensor.scalar_type()).view(tensor.sizes());
}

}  // namespace

UpdateShare::UpdateShare(const nn::Parameters& trainable, dist::Communicator& communicator)
    : communicator_(communicator), owners_(trainable.size()) {
  for (const auto& parameter : trainable) tensors_.push_back(parameter.tensor.detach());
  std::vector<size_t> order(tensors_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](size_t i) { return padded_bytes(tensors_[i]); });
  std::vector<int64_t> load(static_cast<size_t>(communicator.size()));
  for (const size_t i : order) {
    const auto lightest = std::ranges::min_element(load);
    *lightest += padded_bytes(tensors_[i]);
    owners_[i] = static_cast<int>(lightest - load.begin());
  }
}

std::vector<at::Tensor> UpdateShare::of_rank(int rank) const {
  std::vector<at::Tensor> out;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (owners_[i] == rank && tensors_[i].numel() > 0) out.push_back(tensors_[i]);
  }
  return out;
}

int64_t UpdateShare::bytes() const {
  int64_t sum = 0;
  for (const auto& tensor : of_rank(communicator_.rank())) sum += static_cast<int64_t>(tensor.nbytes());
  return sum;
}

void UpdateShare::share_updates() const {
  if (communicator_.size() == 1 || tensors_.empty()) return;
  const at::NoGradGuard no_grad;
  const int64_t ranks = communicator_.size();
  int64_t largest = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    int64_t bytes = 0;
    for (const auto& tensor : of_rank(rank)) bytes += padded_bytes(tensor);
    largest = std::max(largest, bytes);
  }
  const auto options = tensors_.front().options().dtype(at::kByte);
  const at::Tensor mine = at::empty({largest}, options), all = at::empty({ranks, largest}, options);
  int64_t offset = 0;
  for (const auto& tensor : of_rank(communicator_.rank())) {
    place_of(tensor, mine, offset).copy_(tensor);
    offset += padded_bytes(tensor);
  }
  communicator_.all_gather(mine, all.view(-1));
  for (int rank = 0; rank < ranks; ++rank) {
    if (rank == communicator_.rank()) continue;
    offset = 0;
    for (at::Tensor tensor : of_rank(rank)) {
      tensor.copy_(place_of(tensor, all.select(0, rank), offset));
      offset += padded_bytes(tensor);
    }
  }
}

}  // namespace snell::train
