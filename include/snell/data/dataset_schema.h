// The description of a data set: a YAML file in datasets/, so that adding one needs no C++. The keys are explained in
// datasets/README.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace snell::data {

struct SplitSchema {
  std::string name;
  std::string images, labels;      // idx: the two files, with or without .gz
  std::string list;                // vtab, fgvc: the file that lists the split
  std::string folder;              // imagefolder: the folder of class folders
  bool optional = false;           // imagefolder: may be missing
  int64_t take = 0;                // csv: so many rows, drawn at random
  bool rest = false;               // csv: all rows that no `take` drew
  std::vector<std::string> parts;  // csv: the union of these splits (key "union")
};

struct DatasetSchema {
  std::string file;  // the schema's own path
  std::string name, layout;
  std::string source;                    // where the data come from and how to get them
  std::string licence;                   // the data's own
  int64_t num_classes = 0;               // 0: as many as the source has (imagefolder)
  std::vector<std::string> class_names;  // empty: the source's names, or the numbers
  std::string image_root;                // fgvc: the folder that the listed paths start from
  std::string table;                     // csv: the table's file, with or without .gz (key "file")
  int64_t height = 0, width = 0;         // csv: pixels of an image
  uint64_t seed = 0;                     // csv: of the drawn splits
  std::vector<SplitSchema> splits;
};

// Reads and checks a schema. Throws ConfigError that names the key, the file and line, what is allowed, the nearest
// match.
DatasetSchema load_schema(const std::string& file);

}  // namespace snell::data
