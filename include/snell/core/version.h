// What this program is: kept with everything it writes.
#pragma once

#include <string>

namespace snell::core {

// "0.1.0 (1a2b3c4, CPU, LibTorch 2.11.0)"
std::string version();

}  // namespace snell::core
