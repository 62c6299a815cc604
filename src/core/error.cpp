#include "snell/core/error.h"

#include <string_view>

namespace snell::core {

static std::string place(const std::source_location& where) {
  std::string_view file = where.file_name();
  if (auto slash = file.rfind('/'); slash != std::string_view::npos) file.remove_prefix(slash + 1);
  return str(file, ":", where.line());
}

Error::Error(ExitCode code, const std::string& message, std::source_location where)
    : std::runtime_error(message), exit_code_(code), where_(place(where)) {}

}  // namespace snell::core
