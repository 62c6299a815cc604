#include "tiles.h"

#include <cstdlib>
#include <string_view>

namespace snell::peft {

InstructionSet best_instruction_set() {
  static const InstructionSet best = [] {
    const char* wish = std::getenv("SNELL_CPU_KERNELS");
    if (wish != nullptr && std::string_view(wish) == "portable") return InstructionSet::kPortable;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return InstructionSet::kAvx2;
#endif
    return InstructionSet::kPortable;
  }();
  return best;
}

const char* name_of(InstructionSet set) {
  return set == InstructionSet::kAvx2 ? "avx2" : "portable";
}

template <>
const TileFunctions<float>& tile_functions(InstructionSet set) {
  return set == InstructionSet::kAvx2 ? avx2::kFloat : portable::kFloat;
}

template <>
const TileFunctions<double>& tile_functions(InstructionSet set) {
  return set == InstructionSet::kAvx2 ? avx2::kDouble : portable::kDouble;
}

}  // namespace snell::peft
