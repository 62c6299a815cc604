// Which inner loops this CPU runs: those that are compiled for several instruction sets ask here.
#pragma once

namespace snell::core {

enum class InstructionSet { kPortable, kAvx2 };

// The best one that this CPU has; SNELL_CPU_KERNELS=portable in the environment takes the portable one.
InstructionSet best_instruction_set();
const char* name_of(InstructionSet set);

}  // namespace snell::core
