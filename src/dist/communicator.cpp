#include "snell/dist/communicator.h"

#include <ATen/core/Tensor.h>

namespace snell::dist {

void Communicator::all_reduce(at::Tensor tensor, ReduceOp op) {
  all_reduce_async(std::move(tensor), op)->wait();
}

}  // namespace snell::dist
