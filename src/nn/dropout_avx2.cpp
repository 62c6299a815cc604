// Compiled with -mavx2 -mfma (CMakeLists.txt): runs only where the CPU has both.
#include "dropout_loops.h"

namespace snell::nn::avx2 {
#include "dropout_loops.inc"
}  // namespace snell::nn::avx2
