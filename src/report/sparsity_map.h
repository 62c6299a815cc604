// How the kept entries wandered among the layers: a map of layers by epochs for each kind of projection.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

namespace snell::report {

// From "sparsity" events by epoch (see metrics.h). "" when none tells of a layer. A field that is missing or strange is
// a gap; names are escaped.
std::string sparsity_section(const std::map<int64_t, nlohmann::json>& allocations);

}  // namespace snell::report
