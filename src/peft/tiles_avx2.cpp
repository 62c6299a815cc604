// Compiled with -mavx2 -mfma (CMakeLists.txt): runs only where the CPU has both.
#include "tiles.h"

namespace snell::peft::avx2 {
#include "tile_loops.inc"
}  // namespace snell::peft::avx2
