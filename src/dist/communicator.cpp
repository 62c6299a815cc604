#include "snell/dist/communicator.h"

#include <ATen/core/Tensor.h>

#include "traffic.h"

namespace snell::dist {

void Communicator::all_reduce(at::Tensor tensor, ReduceOp op) {
  all_reduce_async(std::move(tensor), op)->wait();
}

void Communicator::all_gather(const at::Tensor& input, at::Tensor output) {
  all_gather_async(input, std::move(output))->wait();
}

void Communicator::reduce_scatter(const at::Tensor& input, at::Tensor output, ReduceOp op) {
  reduce_scatter_async(input, std::move(output), op)->wait();
}

double Communicator::wire_bytes(const std::string& collective) const {
  return static_cast<double>(bytes(collective)) * wire_factor(collective, size());
}

double wire_factor(const std::string& collective, int size) {
  const double others = size - 1;
  switch (collective_of(collective)) {
    case Collective::kAllReduce:
      return 2 * others / size;
    case Collective::kAllGather:
      return others;
    default:
      return others / size;
  }
}

}  // namespace snell::dist
