// The structures of a zip archive around its contents: headers, central directory, end records.
#pragma once

#include <vector>

#include "zip_file.h"

namespace snell::io {

// The entries in the order of their place in the file. Throws WeightsError.
std::vector<ZipEntry> parse_zip_directory(const FileBytes& file);

}  // namespace snell::io
