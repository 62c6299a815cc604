// Compiled for any CPU.
#include "tiles.h"

namespace snell::peft::portable {
#include "tile_loops.inc"
}  // namespace snell::peft::portable
