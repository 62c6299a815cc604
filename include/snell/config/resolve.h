// Interpolation, as OmegaConf does it: ${a.b}, ${a[0]}, relative ${.x} (a sibling) and ${..x} (one level up),
// ${oc.env:NAME}, ${oc.env:NAME,default}, ${oc.decode:TEXT}, nested ones, and text around them.
#pragma once

#include "snell/config/node.h"

namespace snell::config {

// A copy of the tree without interpolations; a value that is one whole interpolation keeps the target's type and takes
// the place where it is used as its origin. `\${` is a literal "${". Interpolations of a mandatory value that is not
// set are themselves mandatory (kMissing). Throws ConfigError for unknown keys (with the nearest match), cycles,
// unknown resolvers, unset environment variables and trees that grow beyond the budgets.
Node resolve_interpolations(const Node& root);

}  // namespace snell::config
