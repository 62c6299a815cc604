#include "mpi_types.h"
#include "mpi_comm.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <vector>

#include "snell/core/error.h"

namespace snell::dist {

namespace {

template <class T, ReduceOp kOp>
void reduce_into(void* in, void* in_out, int* count, MPI_Datatype*) {
  const T* a = static_cast<const T*>(in);
  T* b = static_cast<T*>(in_out);
  for (int i = 0; i < *count; ++i) {
    const float x = a[i];
    const float y = b[i];
    if constexpr (kOp == ReduceOp::kSum) {
      b[i] = x + y;
    } else if constexpr (kOp == ReduceOp::kMin) {
      b[i] = std::min(x, y);
    } else {
      b[i] = std::max(x, y);
    }
  }
}

MPI_Op make_op(MPI_User_function* function) {
  MPI_Op op = MPI_OP_NULL;
  check_mpi(MPI_Op_create(function, /*commute=*/1, &op), "MPI_Op_create");
  return op;
}

template <class T>
std::array<MPI_Op, 3> make_ops() {
  return {make_op(&reduce_into<T, ReduceOp::kSum>), make_op(&reduce_into<T, ReduceOp::kMin>),
          make_op(&reduce_into<T, ReduceOp::kMax>)};
}

}  // namespace

MPI_Datatype mpi_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kDouble:
      return MPI_DOUBLE;
    case at::kLong:
      return MPI_INT64_T;
    case at::kInt:
      return MPI_INT32_T;
    case at::kByte:
      return MPI_UINT8_T;
    case at::kHalf:
    case at::kBFloat16:
      return MPI_UINT16_T;
    default:
      throw core::Error(core::str("MPI moves no tensors of type ", type));
  }
}

HalfOps::HalfOps() : half_(make_ops<c10::Half>()), bfloat16_(make_ops<c10::BFloat16>()) {}

HalfOps::~HalfOps() {
  int ended = 0;
  if (MPI_Finalized(&ended) != MPI_SUCCESS || ended != 0) return;
  for (auto* ops : {&half_, &bfloat16_}) {
    for (MPI_Op& op : *ops) MPI_Op_free(&op);
  }
}

MPI_Op HalfOps::get(at::ScalarType type, ReduceOp op) const {
  const auto index = static_cast<size_t>(op);
  if (type == at::kHalf) return half_.at(index);
  if (type == at::kBFloat16) return bfloat16_.at(index);
  const std::array kOps = {MPI_SUM, MPI_MIN, MPI_MAX};
  return kOps.at(index);
}

MpiBlock::MpiBlock(int64_t numel, MPI_Datatype type, int64_t max_count) : count_(1), type_(type) {
  if (numel <= max_count) {
    count_ = static_cast<int>(numel);
    return;
  }
  // `full` runs of max_count elements, then the rest, as one struct.
  const int64_t full = numel / max_count;
  const int64_t rest = numel % max_count;
  core::check(full <= max_count, core::str("a tensor of ", numel, " elements is too large for MPI"));
  int element_size = 0;
  check_mpi(MPI_Type_size(type, &element_size), "MPI_Type_size");
  MPI_Datatype run = MPI_DATATYPE_NULL;
  MPI_Datatype runs = MPI_DATATYPE_NULL;
  check_mpi(MPI_Type_contiguous(static_cast<int>(max_count), type, &run), "MPI_Type_contiguous");
  check_mpi(MPI_Type_contiguous(static_cast<int>(full), run, &runs), "MPI_Type_contiguous");
  const std::array<int, 2> lengths = {1, static_cast<int>(rest)};
  const std::array<MPI_Aint, 2> offsets = {0, static_cast<MPI_Aint>(full * max_count * element_size)};
  const std::array<MPI_Datatype, 2> types = {runs, type};
  check_mpi(MPI_Type_create_struct(rest > 0 ? 2 : 1, lengths.data(), offsets.data(), types.data(), &type_),
            "MPI_Type_create_struct");
  check_mpi(MPI_Type_commit(&type_), "MPI_Type_commit");
  check_mpi(MPI_Type_free(&run), "MPI_Type_free");
  check_mpi(MPI_Type_free(&runs), "MPI_Type_free");
  derived_ = true;
}

MpiBlock::~MpiBlock() {
  if (derived_) MPI_Type_free(&type_);
}

}  // namespace snell::dist
