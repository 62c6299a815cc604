#include "snell/core/instruction_set.h"

#include <cstdlib>
#include <string_view>

namespace snell::core {

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

}  // namespace snell::core
