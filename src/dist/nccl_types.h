// Tensor types and reductions as NCCL's numbers (nccl.h's ncclDataType_t and ncclRedOp_t; checked against it where NCCL
// is compiled in).
#pragma once

#include <c10/core/ScalarType.h>

#include "snell/dist/communicator.h"

namespace snell::dist {

// Throws core::Error for a type that NCCL does not move.
int nccl_type(c10::ScalarType type);
int nccl_op(ReduceOp op);

}  // namespace snell::dist
