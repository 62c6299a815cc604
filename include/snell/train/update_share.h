// Which rank updates which trainable parameter, where the optimizer's state is sharded.
#pragma once

#include <cstdint>
#include <vector>

#include "snell/dist/communicator.h"
#include "snell/nn/parameter.h"

namespace snell::train {

// Whole parameters, so that an elementwise optimizer gives the very bits that it gives on one rank: largest first, each
// to the rank with the least so far. No rank has more than 1/N of the bytes and one parameter. The same on every rank.
class UpdateShare {
 public:
  // `communicator` must outlive it; its ranks all hold equal parameters.
  UpdateShare(const nn::Parameters& trainable, dist::Communicator& communicator);

  // Whether this rank updates the i-th parameter.
  bool is_mine(size_t i) const { return owners_[i] == communicator_.rank(); }
  // Bytes of this rank's parameters.
  int64_t bytes() const;
  // After an update: every rank's own parameters become everybody's. Collective. Takes memory for two copies of the
  // trainables' bytes while it runs.
  void share_updates() const;

 private:
  std::vector<at::Tensor> of_rank(int rank) const;

  dist::Communicator& communicator_;
  std::vector<at::Tensor> tensors_;
  std::vector<int> owners_;
};

}  // namespace snell::train
