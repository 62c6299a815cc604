// The type of a scalar that is written without quotes, after OmegaConf's rules: 1e-3 is a float (YAML 1.1 makes it a
// string), 010 is no octal number but a string, and so are hexadecimal, binary, sexagesimal numbers and dates.
#pragma once

#include <string>
#include <string_view>

#include "snell/config/node.h"

namespace snell::config {

// Files read yes/no/on/off as bool and ~ as null, as OmegaConf's YAML loader does; on the command line, as in Hydra's
// override grammar, only true, false and null (in any case) are words, besides inf and nan.
enum class Dialect { kFile, kCommandLine };

Node typed_scalar(std::string_view text, Dialect dialect, const Origin& origin);

// The shortest digits that read back as the same double, always with a '.' or an exponent: "0.001", "1.0", "1e-05",
// ".inf", "-.inf", ".nan" (Python's repr but for the last three).
std::string format_double(double value);

}  // namespace snell::config
