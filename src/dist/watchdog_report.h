// What a rank writes down when its watchdog gives up.
#pragma once

#include <string>
#include <vector>

#include "snell/core/phase.h"

namespace snell::dist {

// Appends to the file `path`: `head` (lines of text), the last phases of `ring`, and the stacks of all threads but the
// calling one. Takes no lock and little memory; a file that cannot be written goes to stderr.
void write_watchdog_report(const std::string& path, const std::string& head, const core::PhaseRing& ring) noexcept;

// Appends the names of the program's own functions in those stacks; does allocate.
void write_watchdog_names(const std::string& path) noexcept;

}  // namespace snell::dist
