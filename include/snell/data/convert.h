// Turns a data set as it is published (folders, lists, idx files, tables) into one HDF5 file (dataset_file.h).
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "snell/data/dataset_schema.h"

namespace snell::data {

enum class OnError {
  kFail,  // any bad image ends the conversion, which names them
  kSkip,  // bad images are left out and listed in <output>.skipped.txt
};

struct ConvertOptions {
  OnError on_error = OnError::kFail;
  bool overwrite = false;            // replace an existing output
  std::string created_by = "snell";  // the program and its version
  bool decode = true;                // decode every image file once, to find what is damaged behind a sound header
  int64_t threads = 0;               // that check them; 0: as many as the machine has cores
  // Called now and then, by the calling thread, with the number of images done and to do (each counts twice: once
  // checked, once written).
  std::function<void(int64_t done, int64_t total)> progress;
};

// An image that was left out.
struct SkippedImage {
  std::string path, reason;
};

struct ConvertReport {
  std::string output;
  int64_t num_samples = 0, num_classes = 0, blob_bytes = 0;
  std::vector<std::pair<std::string, int64_t>> splits;  // name and size
  std::vector<SkippedImage> skipped;
  std::string skipped_file;  // "" when nothing was skipped
};

// `source`: the folder that holds the data set (or, for a table, the file itself). Throws DataError when the source is
// not what the schema says or, with kFail, when any image is missing, unreadable, listed twice, listed with two labels
// or with a label out of range (the first 20 and their number are named); DiskError when the output cannot be written.
ConvertReport convert(const DatasetSchema& schema, const std::string& source, const std::string& output,
                      const ConvertOptions& options = {});

// For people and for --json.
std::string convert_text(const ConvertReport& report);
nlohmann::json convert_json(const ConvertReport& report);

}  // namespace snell::data
