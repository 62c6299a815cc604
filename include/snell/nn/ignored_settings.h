// Settings of a backbone that its architecture does not look at.
#pragma once

#include <string>
#include <vector>

#include "snell/nn/backbone.h"

namespace snell::nn {

// "backbone.depth (used by vit)" for each that differs from its default: the person who set it believes in an effect.
std::vector<std::string> ignored_settings(const BackboneConfig& config);

}  // namespace snell::nn
