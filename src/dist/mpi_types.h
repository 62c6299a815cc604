// Tensor types and reductions in MPI's words.
#pragma once

#include <ATen/core/Tensor.h>
#include <mpi.h>

#include <array>
#include <cstdint>

#include "snell/dist/communicator.h"

namespace snell::dist {

MPI_Datatype mpi_type(at::ScalarType type);

// Sum, min and max of float16 and bfloat16, which MPI does not know: their bits travel as uint16.
class HalfOps {
 public:
  HalfOps();
  ~HalfOps();
  HalfOps(const HalfOps&) = delete;
  HalfOps& operator=(const HalfOps&) = delete;
  MPI_Op get(at::ScalarType type, ReduceOp op) const;

 private:
  std::array<MPI_Op, 3> half_{};
  std::array<MPI_Op, 3> bfloat16_{};
};

// `numel` elements as one (count, type) pair, also when there are more than `max_count`: those become one element of a
// derived type, freed when this object dies.
class MpiBlock {
 public:
  MpiBlock(int64_t numel, MPI_Datatype type, int64_t max_count);
  ~MpiBlock();
  MpiBlock(const MpiBlock&) = delete;
  MpiBlock& operator=(const MpiBlock&) = delete;
  int count() const { return count_; }
  MPI_Datatype type() const { return type_; }

 private:
  int count_;
  MPI_Datatype type_;
  bool derived_ = false;
};

}  // namespace snell::dist
