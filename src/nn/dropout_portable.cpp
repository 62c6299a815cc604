// Compiled for any CPU.
#include "dropout_loops.h"

namespace snell::nn::portable {
#include "dropout_loops.inc"
}  // namespace snell::nn::portable
