#include "tiles.h"

namespace snell::peft {

using core::InstructionSet;

template <>
const TileFunctions<float>& tile_functions(InstructionSet set) {
  return set == InstructionSet::kAvx2 ? avx2::kFloat : portable::kFloat;
}

template <>
const TileFunctions<double>& tile_functions(InstructionSet set) {
  return set == InstructionSet::kAvx2 ? avx2::kDouble : portable::kDouble;
}

}  // namespace snell::peft
