#include "traffic.h"

#include "snell/core/error.h"

namespace snell::dist {

namespace {

constexpr std::array kNames = {"all_reduce", "broadcast", "all_gather", "reduce_scatter", "all_to_all"};
static_assert(kNames.size() == static_cast<size_t>(Collective::kCount));

void check_apart(Collective kind, const at::Tensor& input, const at::Tensor& output) {
  core::check(
      input.scalar_type() == output.scalar_type(),
      core::str(collective_name(kind), ": input is ", input.scalar_type(), ", output is ", output.scalar_type()));
  core::check(input.numel() == 0 || !input.is_alias_of(output),
              core::str(collective_name(kind), ": input and output share memory"));
}

}  // namespace

const char* collective_name(Collective kind) {
  return kNames.at(static_cast<size_t>(kind));
}

Collective collective_of(const std::string& name) {
  for (size_t kind = 0; kind < kNames.size(); ++kind) {
    if (name == kNames[kind]) return static_cast<Collective>(kind);
  }
  throw core::Error(core::str("no collective is called '", name, "'"));
}

int64_t Traffic::bytes(const std::string& name) const {
  return bytes_[static_cast<size_t>(collective_of(name))];
}

void check_tensor(Collective kind, const at::Tensor& tensor, c10::Device device) {
  core::check(tensor.defined() && tensor.is_contiguous(),
              core::str(collective_name(kind), ": the tensor must be defined and contiguous"));
  core::check(tensor.device() == device, core::str(collective_name(kind), ": the tensor is on ", tensor.device().str(),
                                                   ", this communicator moves tensors on ", device.str()));
  switch (tensor.scalar_type()) {
    case at::kFloat:
    case at::kDouble:
    case at::kLong:
    case at::kInt:
    case at::kByte:
    case at::kHalf:
    case at::kBFloat16:
      return;
    default:
      throw core::Error(core::str(collective_name(kind), ": tensors of type ", tensor.scalar_type(),
                                  " are not moved; convert to float, double, half, bfloat16, int64, int32 or uint8"));
  }
}

void check_root(Collective kind, int root, int size) {
  core::check(root >= 0 && root < size, core::str(collective_name(kind), ": root ", root, " of ", size, " ranks"));
}

void check_parts(Collective kind, const at::Tensor& part, const at::Tensor& whole, int size, c10::Device device) {
  check_tensor(kind, part, device);
  check_tensor(kind, whole, device);
  check_apart(kind, part, whole);
  core::check(whole.numel() == part.numel() * size, core::str(collective_name(kind), ": ", whole.numel(),
                                                              " elements are not ", size, " parts of ", part.numel()));
}

void check_exchange(Collective kind, const at::Tensor& input, const at::Tensor& output, int size, c10::Device device) {
  check_tensor(kind, input, device);
  check_tensor(kind, output, device);
  check_apart(kind, input, output);
  core::check(input.numel() == output.numel() && input.numel() % size == 0,
              core::str(collective_name(kind), ": ", input.numel(), " elements in and ", output.numel(), " out for ",
                        size, " ranks"));
}

}  // namespace snell::dist
