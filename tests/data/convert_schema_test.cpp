#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "snell/core/error.h"
#include "snell/data/dataset_schema.h"
#include "support/scratch.h"

namespace snell::data {

using core::ConfigError;
using test::message_of;
using test::Scratch;
using test::spill;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

static const std::string kSound =
    "name: digits\n"
    "layout: csv\n"
    "source: somewhere\n"
    "licence: none\n"
    "num_classes: 2\n"
    "class_names: [zero, one]\n"
    "file: a.csv\n"
    "height: 2\n"
    "width: 3\n"
    "splits:\n"
    "  train: {take: 4}\n"
    "  test: {rest: true}\n"
    "  both: {union: [train, test]}\n";

static std::string replaced(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

TEST(Schema, EveryShippedOneLoads) {
  const std::map<std::string, int64_t> classes{{"cub", 200},
                                               {"nabirds", 555},
                                               {"flowers", 102},
                                               {"dogs", 120},
                                               {"cars", 196},
                                               {"cifar", 100},
                                               {"caltech101", 102},
                                               {"dtd", 47},
                                               {"oxford_flowers102", 102},
                                               {"oxford_iiit_pet", 37},
                                               {"svhn", 10},
                                               {"sun397", 397},
                                               {"patch_camelyon", 2},
                                               {"eurosat", 10},
                                               {"resisc45", 45},
                                               {"diabetic_retinopathy", 5},
                                               {"clevr_count", 8},
                                               {"clevr_dist", 6},
                                               {"dmlab", 6},
                                               {"kitti", 4},
                                               {"dsprites_loc", 16},
                                               {"dsprites_ori", 16},
                                               {"smallnorb_azi", 18},
                                               {"smallnorb_ele", 9},
                                               {"fashion_mnist", 10},
                                               {"mnist5k", 10},
                                               {"imagefolder", 0}};
  size_t found = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(SNELL_SOURCE_DIR "/datasets")) {
    if (entry.path().extension() != ".yaml") continue;
    const DatasetSchema schema = load_schema(entry.path().string());
    EXPECT_EQ(schema.name, entry.path().stem().string());
    ASSERT_TRUE(classes.contains(schema.name)) << schema.name;
    EXPECT_EQ(schema.num_classes, classes.at(schema.name)) << schema.name;
    ++found;
  }
  EXPECT_EQ(found, classes.size());
}

TEST(Schema, ReadsEveryKey) {
  const Scratch scratch;
  spill(scratch / "a.yaml", kSound);
  const DatasetSchema schema = load_schema(scratch / "a.yaml");
  EXPECT_EQ(schema.table, "a.csv");
  EXPECT_THAT(schema.class_names, ElementsAre("zero", "one"));
  ASSERT_EQ(schema.splits.size(), 3u);
  EXPECT_EQ(schema.splits[0].take, 4);
  EXPECT_TRUE(schema.splits[1].rest);
  EXPECT_THAT(schema.splits[2].parts, ElementsAre("train", "test"));
}

TEST(Schema, NamesKeyLineAndNearestMatch) {
  const std::vector<std::tuple<std::string, std::string, std::vector<std::string>>> cases{
      {"num_classes: 2", "num_clases: 2", {":5:", "'num_clases'", "Did you mean 'num_classes'"}},
      {"num_classes: 2", "num_classes: two", {":5:", "'num_classes'", "whole number"}},
      {"num_classes: 2", "num_classes: 0", {":5:", "from 1"}},
      {"num_classes: 2", "num_classes: [2]", {":5:", "whole number"}},
      {"num_classes: 2", "num_classes: 99999999999999999999", {":5:", "whole number"}},
      {"num_classes: 2\n", "", {"'num_classes' is missing"}},
      {"num_classes: 2", "num_classes: 3", {":6:", "2 names for 3 classes"}},
      {"[zero, one]", "[zero, zero]", {":6:", "twice"}},
      {"layout: csv", "layout: cvs", {":2:", "'cvs'", "Did you mean 'csv'"}},
      {"layout: csv", "layout: vtab", {"'file' is not a key here"}},
      {"layout: csv", "layout: csv\nlayout: idx", {":3:", "appears twice"}},
      {"name: digits", "name: a/b", {":1:", "letters, digits"}},
      {"{take: 4}", "{take: 4, rest: true}", {":11:", "one key too many"}},
      {"{take: 4}", "{take: -1}", {":11:", "'splits.train.take'"}},
      {"{take: 4}", "{tak: 4}", {":11:", "Did you mean 'take'"}},
      {"{take: 4}", "{}", {":11:", "is empty"}},
      {"{take: 4}", "4", {":11:", "mapping"}},
      {"{rest: true}", "{rest: maybe}", {":12:", "true or false"}},
      {"[train, test]", "[train, tset]", {":13:", "'tset'"}},
      {"name: digits", "name: [", {"not YAML"}},
  };
  const Scratch scratch;
  for (const auto& [from, to, expected] : cases) {
    spill(scratch / "a.yaml", replaced(kSound, from, to));
    const std::string message = message_of<ConfigError>([&] { load_schema(scratch / "a.yaml"); });
    EXPECT_THAT(message, HasSubstr(scratch / "a.yaml"));
    for (const std::string& part : expected) EXPECT_THAT(message, HasSubstr(part)) << to;
  }
  EXPECT_THAT(message_of<ConfigError>([&] { load_schema(scratch / "none.yaml"); }), HasSubstr("No such file"));
}

TEST(Schema, MutatedFilesNeverCrash) {
  const Scratch scratch;
  for (uint32_t i = 0; i < 2000; ++i) {
    spill(scratch / "a.yaml", test::mutated(kSound, i));
    try {
      load_schema(scratch / "a.yaml");
    } catch (const ConfigError&) {
    }
  }
}

}  // namespace snell::data
