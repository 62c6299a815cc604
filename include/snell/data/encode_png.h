// A picture as the bytes of a PNG file: for pages that show samples.
#pragma once

#include <string>

#include "snell/data/image.h"

namespace snell::data {

std::string encode_png(const Image& image);

}  // namespace snell::data
