#include "snell/data/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <webp/encode.h>
#include <zlib.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "snell/core/error.h"
#include "snell/data/dataset_file.h"
#include "support/scratch.h"

namespace snell::data {

using core::DataError;
using test::message_of;
using test::Scratch;
using test::slurp;
using test::spill;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

static std::string picture(const std::string& name) {
  return slurp(SNELL_SOURCE_DIR "/tests/fixtures/" + name);
}

static std::string webp() {
  const std::vector<uint8_t> pixels(4 * 6 * 3, 80);
  uint8_t* packed = nullptr;
  const size_t size = WebPEncodeLosslessRGB(pixels.data(), 6, 4, 18, &packed);
  std::string out(reinterpret_cast<const char*>(packed), size);
  WebPFree(packed);
  return out;
}

static std::string gzipped(const std::string& text, const std::string& path) {
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  return slurp(path);
}

static DatasetSchema schema_of(const std::string& layout, int64_t num_classes, std::vector<SplitSchema> splits) {
  DatasetSchema schema;
  schema.file = "test.yaml";
  schema.name = "test";
  schema.layout = layout;
  schema.source = "from the test";
  schema.licence = "none";
  schema.num_classes = num_classes;
  schema.splits = std::move(splits);
  return schema;
}

static SplitSchema split_of(const std::string& name) {
  SplitSchema split;
  split.name = name;
  return split;
}

static std::string idx(const std::vector<uint32_t>& shape, const std::string& data, char type = 8) {
  std::string out{0, 0, type, static_cast<char>(shape.size())};
  for (uint32_t extent : shape) {
    for (int shift : {24, 16, 8, 0}) out += static_cast<char>(extent >> shift);
  }
  return out + data;
}

static DatasetSchema idx_schema() {
  SplitSchema train = split_of("train");
  train.images = "images";
  train.labels = "labels";
  return schema_of("idx", 2, {train});
}

TEST(ConvertIdx, PlainAndGzipped) {
  const Scratch scratch;
  const std::string images = idx({3, 2, 2}, "aaaabbbbcccc");
  spill(scratch / "in/images", images);
  spill(scratch / "in/labels.gz", gzipped(idx({3}, std::string("\0\1\1", 3)), scratch / "x.gz"));
  const ConvertReport report = convert(idx_schema(), scratch / "in", scratch / "a.h5");
  EXPECT_EQ(report.num_samples, 3);
  const auto source = open_dataset(scratch / "a.h5", "train");
  EXPECT_EQ(source->name(1), "images#1");
  EXPECT_EQ(source->label(1), 1);
  EXPECT_EQ(source->read(1).bytes[0], static_cast<std::byte>('b'));
  EXPECT_EQ(source->read(1).encoding, Encoding::kRawGrey);
  EXPECT_THAT(source->class_names(), ElementsAre("0", "1"));
  EXPECT_THAT(message_of<DataError>([&] { convert(idx_schema(), scratch / "in", scratch / "a.h5"); }),
              HasSubstr("exists already"));
  ConvertOptions options;
  options.overwrite = true;
  EXPECT_EQ(convert(idx_schema(), scratch / "in", scratch / "a.h5", options).blob_bytes, 12);
}

TEST(ConvertIdx, NamesWhatIsWrong) {
  const Scratch scratch;
  const std::string images = idx({3, 2, 2}, "aaaabbbbcccc"), labels = idx({3}, std::string("\0\1\1", 3));
  const auto refusal = [&](const std::string& i, const std::string& l) {
    spill(scratch / "in/images", i);
    spill(scratch / "in/labels", l);
    return message_of<DataError>([&] { convert(idx_schema(), scratch / "in", scratch / "a.h5"); });
  };
  EXPECT_THAT(refusal(images, idx({3}, std::string("\0\1\2", 3))), HasSubstr("images#2: its label 2"));
  EXPECT_THAT(refusal(images, idx({2}, std::string("\0\1", 2))), HasSubstr("one label for each of the 3"));
  EXPECT_THAT(refusal(images.substr(0, 20), labels), HasSubstr("needs 12 bytes"));
  EXPECT_THAT(refusal(images.substr(0, 6), labels), HasSubstr("cut off"));
  EXPECT_THAT(refusal("", labels), HasSubstr("first four bytes"));
  EXPECT_THAT(refusal(idx({3, 2, 2}, "aaaabbbbcccc", 13), labels), HasSubstr("first four bytes"));
  EXPECT_THAT(refusal(idx({~0u, ~0u, ~0u}, ""), labels), HasSubstr("impossible"));
  EXPECT_THAT(refusal(idx({3, 4}, "aaaabbbbcccc"), labels), HasSubstr("no grey or RGB images"));
  std::filesystem::remove(scratch / "in/images");
  EXPECT_THAT(message_of<DataError>([&] { convert(idx_schema(), scratch / "in", scratch / "a.h5"); }),
              HasSubstr("how to get the data: from the test"));
  EXPECT_THAT(message_of<DataError>([&] { convert(idx_schema(), scratch / "none", scratch / "a.h5"); }),
              HasSubstr("does not exist"));
}

TEST(ConvertIdx, MutatedFilesNeverCrash) {
  const Scratch scratch;
  spill(scratch / "in/labels", idx({3}, std::string("\0\1\1", 3)));
  const std::string plain = idx({3, 2, 2}, "aaaabbbbcccc"), packed = gzipped(plain, scratch / "x.gz");
  ConvertOptions options;
  options.overwrite = true;
  for (uint32_t i = 0; i < 2000; ++i) {
    spill(scratch / "in/images", test::mutated(i % 2 == 0 ? plain : packed, i));
    try {
      convert(idx_schema(), scratch / "in", scratch / "a.h5", options);
    } catch (const DataError&) {
    }
  }
}

static DatasetSchema csv_schema() {
  SplitSchema train = split_of("train"), val = split_of("val"), both = split_of("both"), rest = split_of("test");
  train.take = 40;
  val.take = 10;
  both.parts = {"train", "val"};
  rest.rest = true;
  DatasetSchema schema = schema_of("csv", 2, {train, val, both, rest});
  schema.table = "a.csv";
  schema.height = 1;
  schema.width = 2;
  schema.seed = 3;
  return schema;
}

static std::string csv_rows(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += core::str(i % 256, ",", 255 - i % 256, ",", i % 2, "\n");
  return text;
}

static std::set<std::string> names_in(const std::string& file, const std::string& split) {
  std::set<std::string> names;
  const auto source = open_dataset(file, split);
  for (int64_t i = 0; i < source->size(); ++i) names.insert(source->name(i));
  return names;
}

TEST(ConvertCsv, SeededSplitsCoverAllRowsOnce) {
  const Scratch scratch;
  spill(scratch / "in/a.csv.gz", gzipped(csv_rows(200), scratch / "x.gz"));
  convert(csv_schema(), scratch / "in", scratch / "a.h5");
  const auto train = names_in(scratch / "a.h5", "train"), val = names_in(scratch / "a.h5", "val"),
             both = names_in(scratch / "a.h5", "both"), rest = names_in(scratch / "a.h5", "test");
  EXPECT_EQ(train.size(), 40u);
  EXPECT_EQ(val.size(), 10u);
  std::set<std::string> joined = train;
  joined.insert(val.begin(), val.end());
  EXPECT_EQ(joined.size(), 50u);
  EXPECT_EQ(joined, both);
  joined.insert(rest.begin(), rest.end());
  EXPECT_EQ(joined.size(), 200u);
  const auto source = open_dataset(scratch / "a.h5", "test");
  EXPECT_EQ(source->read(0).bytes.size(), 2u);

  convert(csv_schema(), scratch / "in/a.csv.gz", scratch / "b.h5");  // the file itself as source
  EXPECT_EQ(names_in(scratch / "b.h5", "train"), train) << "the same seed draws the same rows";
  DatasetSchema other = csv_schema();
  other.seed = 4;
  convert(other, scratch / "in", scratch / "c.h5");
  EXPECT_NE(names_in(scratch / "c.h5", "train"), train);
  // "a.csv.gz:7" has the label (7 - 1) % 2, whatever split it is in.
  for (int64_t i = 0; i < source->size(); ++i) {
    const std::string name = source->name(i);
    EXPECT_EQ(source->label(i), (std::stoi(name.substr(name.find(':') + 1)) - 1) % 2);
  }
}

TEST(ConvertCsv, NamesBadRows) {
  const Scratch scratch;
  spill(scratch / "in/a.csv", csv_rows(60) + "1,2\n1,2,3,4\n1,x,0\n1,256,0\n1,2,5\n");
  const std::string message = message_of<DataError>([&] { convert(csv_schema(), scratch / "in", scratch / "a.h5"); });
  EXPECT_THAT(message, HasSubstr("5 bad images"));
  for (const char* part : {"a.csv:61: it needs 3", "a.csv:62: it needs 3", "a.csv:63: column 2 is not",
                           "a.csv:64: column 2 is 256", "a.csv:65: its label 5"}) {
    EXPECT_THAT(message, HasSubstr(part));
  }
  ConvertOptions options;
  options.on_error = OnError::kSkip;
  const ConvertReport report = convert(csv_schema(), scratch / "in", scratch / "a.h5", options);
  EXPECT_EQ(report.skipped.size(), 5u);
  EXPECT_EQ(report.num_samples, 60);
  EXPECT_THAT(slurp(scratch / "a.h5.skipped.txt"), HasSubstr("a.csv:64\tcolumn 2 is 256"));
  spill(scratch / "in/a.csv", csv_rows(30));
  EXPECT_THAT(message_of<DataError>([&] { convert(csv_schema(), scratch / "in", scratch / "b.h5"); }),
              HasSubstr("too few"));
}

static DatasetSchema vtab_schema() {
  std::vector<SplitSchema> splits;
  for (const char* name : {"train800", "val200", "train800val200", "test"}) {
    splits.push_back(split_of(name));
    splits.back().list = core::str(name, ".txt");
  }
  return schema_of("vtab", 3, splits);
}

static void write_vtab(const Scratch& scratch) {
  spill(scratch / "in/images/a.jpg", picture("picture.jpg"));
  spill(scratch / "in/images/b c.png", picture("picture.png"));
  spill(scratch / "in/images/d.webp", webp());
  spill(scratch / "in/train800.txt", "images/a.jpg 0\r\n");
  spill(scratch / "in/val200.txt", "images/b c.png 2\n\n");
  spill(scratch / "in/train800val200.txt", "images/a.jpg 0\nimages/b c.png 2");
  spill(scratch / "in/test.txt", "images/d.webp 1\n");
}

TEST(ConvertVtab, StoresAnImageOfTwoSplitsOnce) {
  const Scratch scratch;
  write_vtab(scratch);
  std::vector<int64_t> seen;
  ConvertOptions options;
  options.progress = [&](int64_t done, int64_t total) { seen.push_back(total - done); };
  const ConvertReport report = convert(vtab_schema(), scratch / "in", scratch / "a.h5", options);
  EXPECT_EQ(report.num_samples, 3);
  EXPECT_EQ(seen.back(), 0);
  EXPECT_THAT(convert_text(report), HasSubstr("split train800val200: 2 images"));
  EXPECT_EQ(convert_json(report)["splits"]["test"], 1);
  const auto source = open_dataset(scratch / "a.h5", "train800val200");
  ASSERT_EQ(source->size(), 2);
  EXPECT_EQ(source->name(1), "images/b c.png");
  EXPECT_EQ(source->label(1), 2);
  const Sample sample = source->read(1);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(sample.bytes.data()), sample.bytes.size()),
            picture("picture.png"));
  const DatasetInfo info = describe_dataset(scratch / "a.h5");
  EXPECT_EQ(info.min_height, 4) << "of the WebP";
  EXPECT_TRUE(verify_dataset(scratch / "a.h5").sound());
}

TEST(ConvertVtab, NamesEveryBadImage) {
  const Scratch scratch;
  write_vtab(scratch);
  const std::string jpeg = picture("picture.jpg"), png = picture("picture.png");
  spill(scratch / "in/images/empty.jpg", "");
  spill(scratch / "in/images/text.jpg", "hello");
  spill(scratch / "in/images/cut.jpg", jpeg.substr(0, 30));
  spill(scratch / "in/images/cut.png", png.substr(0, 20));
  spill(scratch / "in/images/cut.webp", webp().substr(0, 14));
  std::filesystem::create_directories(scratch / "in/images/folder.jpg");
  std::string list =
      "images/d.webp 1\nimages/none.jpg 1\nimages/d.webp 1\nimages/a.jpg 1\nimages/b c.png 3\n../a.jpg 0\n/etc/passwd "
      "0\nword\n";
  for (const char* name : {"empty.jpg", "text.jpg", "cut.jpg", "cut.png", "cut.webp", "folder.jpg"})
    list += core::str("images/", name, " 0\n");
  spill(scratch / "in/test.txt", list);
  const std::string message = message_of<DataError>([&] { convert(vtab_schema(), scratch / "in", scratch / "a.h5"); });
  for (const char* part :
       {"13 bad images", "images/none.jpg: cannot open", "images/d.webp: it is listed twice in split test",
        "images/a.jpg: it has the label 0 in split train800 and 1 in split test",
        "images/b c.png: its label 3 is not one of the classes 0 to 2", "../a.jpg: the path", "/etc/passwd: the path",
        "test.txt:8: the line", "images/empty.jpg: it is empty", "images/text.jpg: it is no JPEG",
        "images/cut.jpg: its JPEG header", "images/cut.png: its PNG header", "images/cut.webp: its WebP header",
        "images/folder.jpg: "}) {
    EXPECT_THAT(message, HasSubstr(part));
  }
  EXPECT_FALSE(std::filesystem::exists(scratch / "a.h5"));
  ConvertOptions options;
  options.on_error = OnError::kSkip;
  spill(scratch / "in/train800.txt", "images/b c.png 2\n");
  spill(scratch / "in/train800val200.txt", "images/b c.png 2\n");
  const ConvertReport report = convert(vtab_schema(), scratch / "in", scratch / "a.h5", options);
  EXPECT_EQ(report.num_samples, 3);
  const std::string skipped = slurp(report.skipped_file);
  EXPECT_EQ(std::count(skipped.begin(), skipped.end(), '\n'), 12);
  EXPECT_THAT(skipped, HasSubstr("images/none.jpg\tcannot open"));
  EXPECT_THAT(names_in(scratch / "a.h5", "test"), ElementsAre("images/a.jpg", "images/d.webp"));
}

TEST(ConvertVtab, ShowsTwentyOfManyProblems) {
  const Scratch scratch;
  write_vtab(scratch);
  std::string list;
  for (int i = 0; i < 30; ++i) list += core::str("images/none", i, ".jpg 0\n");
  spill(scratch / "in/test.txt", list);
  const std::string message = message_of<DataError>([&] { convert(vtab_schema(), scratch / "in", scratch / "a.h5"); });
  EXPECT_THAT(message, HasSubstr("30 bad images"));
  EXPECT_THAT(message, HasSubstr("none19.jpg"));
  EXPECT_THAT(message, Not(HasSubstr("none20.jpg")));
  EXPECT_THAT(message, HasSubstr("and 10 more"));
  ConvertOptions options;
  options.on_error = OnError::kSkip;
  EXPECT_THAT(message_of<DataError>([&] { convert(vtab_schema(), scratch / "in", scratch / "a.h5", options); }),
              HasSubstr("split test"));
}

TEST(ConvertVtab, FindsDamageBehindASoundHeader) {
  const Scratch scratch;
  write_vtab(scratch);
  const std::string jpeg = picture("picture.jpg");
  spill(scratch / "in/images/a.jpg", jpeg.substr(0, jpeg.size() / 2));
  EXPECT_THAT(message_of<DataError>([&] { convert(vtab_schema(), scratch / "in", scratch / "a.h5"); }),
              HasSubstr("images/a.jpg: "));
  ConvertOptions options;
  options.decode = false;
  options.threads = 1;
  EXPECT_EQ(convert(vtab_schema(), scratch / "in", scratch / "a.h5", options).num_samples, 3);
}

static DatasetSchema fgvc_schema(int64_t num_classes) {
  std::vector<SplitSchema> splits;
  for (const char* name : {"train", "val", "test"}) {
    splits.push_back(split_of(name));
    splits.back().list = core::str(name, ".json");
  }
  DatasetSchema schema = schema_of("fgvc", num_classes, splits);
  schema.image_root = "images";
  return schema;
}

TEST(ConvertFgvc, SortsClassesAsTheReferenceDoes) {
  const Scratch scratch;
  for (const char* name : {"a", "b", "c", "d"})
    spill(scratch / core::str("in/images/x/", name, ".jpg"), picture("picture.jpg"));
  spill(scratch / "in/train.json", R"({"x/a.jpg": 10, "x/b.jpg": 2})");
  spill(scratch / "in/val.json", R"({"x/c.jpg": 10})");
  spill(scratch / "in/test.json", R"({"x/d.jpg": 300})");
  convert(fgvc_schema(3), scratch / "in", scratch / "a.h5");
  const auto train = open_dataset(scratch / "a.h5", "train");
  EXPECT_THAT(train->class_names(), ElementsAre("2", "10", "300"));
  EXPECT_EQ(train->name(0), "images/x/a.jpg");
  EXPECT_EQ(train->label(0), 1);
  EXPECT_EQ(train->label(1), 0);
  EXPECT_EQ(open_dataset(scratch / "a.h5", "test")->label(0), 2);
  // Texts sort as texts.
  spill(scratch / "in/train.json", R"({"x/a.jpg": "10", "x/b.jpg": "2"})");
  spill(scratch / "in/val.json", R"({"x/c.jpg": "10"})");
  spill(scratch / "in/test.json", R"({"x/d.jpg": "300"})");
  convert(fgvc_schema(3), scratch / "in", scratch / "b.h5");
  EXPECT_THAT(open_dataset(scratch / "b.h5", "val")->class_names(), ElementsAre("10", "2", "300"));
}

TEST(ConvertFgvc, NamesWhatIsWrongWithTheLists) {
  const Scratch scratch;
  for (const char* name : {"a", "b"}) spill(scratch / core::str("in/images/", name, ".jpg"), picture("picture.jpg"));
  spill(scratch / "in/val.json", R"({"a.jpg": 1})");
  spill(scratch / "in/test.json", R"({"b.jpg": 2})");
  const auto refusal = [&](const std::string& train) {
    spill(scratch / "in/train.json", train);
    return message_of<DataError>([&] { convert(fgvc_schema(2), scratch / "in", scratch / "a.h5"); });
  };
  EXPECT_THAT(refusal(R"({"a.jpg": 1, "a.jpg": 1})"), HasSubstr("images/a.jpg: it is listed twice in split train"));
  EXPECT_THAT(refusal(R"({"a.jpg": 2})"),
              HasSubstr("images/a.jpg: it has the label 1 in split train and 0 in split val"));
  EXPECT_THAT(refusal(R"({"a.jpg": 3})"), HasSubstr("3 classes"));
  EXPECT_THAT(refusal(R"({"a.jpg": "1"})"), HasSubstr("some by texts"));
  EXPECT_THAT(refusal(R"({"a.jpg": 1.5})"), HasSubstr("(at 'a.jpg')"));
  EXPECT_THAT(refusal(R"({"a.jpg": [1]})"), HasSubstr("not a mapping"));
  EXPECT_THAT(refusal(R"(["a.jpg"])"), HasSubstr("not a mapping"));
  EXPECT_THAT(refusal(R"(3)"), HasSubstr("not a mapping"));
  EXPECT_THAT(refusal(R"({"a.jpg": 1)"), HasSubstr("not JSON at byte"));
  std::filesystem::remove(scratch / "in/train.json");
  EXPECT_THAT(message_of<DataError>([&] { convert(fgvc_schema(2), scratch / "in", scratch / "a.h5"); }),
              HasSubstr("how to get the data"));
}

static DatasetSchema folder_schema(int64_t num_classes) {
  std::vector<SplitSchema> splits;
  for (const char* name : {"train", "val"}) {
    splits.push_back(split_of(name));
    splits.back().folder = name;
    splits.back().optional = std::string(name) == "val";
  }
  return schema_of("imagefolder", num_classes, splits);
}

TEST(ConvertImageFolder, ClassesAreFolders) {
  const Scratch scratch;
  spill(scratch / "in/train/dog/deep/1.jpg", picture("picture.jpg"));
  spill(scratch / "in/train/cat/2.png", picture("picture.png"));
  convert(folder_schema(0), scratch / "in", scratch / "a.h5");
  const auto source = open_dataset(scratch / "a.h5", "train");
  EXPECT_THAT(source->class_names(), ElementsAre("cat", "dog"));
  EXPECT_EQ(source->name(1), "train/dog/deep/1.jpg");
  EXPECT_EQ(source->label(1), 1);
  EXPECT_EQ(describe_dataset(scratch / "a.h5").splits.size(), 1u);
  EXPECT_THAT(message_of<DataError>([&] { convert(folder_schema(3), scratch / "in", scratch / "b.h5"); }),
              HasSubstr("2 class folders"));

  spill(scratch / "in/val/bird/3.jpg", picture("picture.jpg"));
  spill(scratch / "in/val/bird/notes.txt", "no image");
  spill(scratch / "in/val/lost.jpg", picture("picture.jpg"));
  const std::string message =
      message_of<DataError>([&] { convert(folder_schema(0), scratch / "in", scratch / "b.h5"); });
  EXPECT_THAT(message, HasSubstr("val/lost.jpg: it lies outside"));
  EXPECT_THAT(message, HasSubstr("val/bird/notes.txt: it is no JPEG"));
  std::filesystem::remove_all(scratch / "in/train");
  EXPECT_THAT(message_of<DataError>([&] { convert(folder_schema(0), scratch / "in", scratch / "b.h5"); }),
              HasSubstr("the folder of split train"));
}

TEST(ConvertImages, MutatedImagesNeverCrash) {
  const Scratch scratch;
  write_vtab(scratch);
  spill(scratch / "in/val200.txt",
        "images/none.jpg 2\n");  // so that nothing is written, which would take most of the time
  for (const auto& [name, content] : {std::pair<std::string, std::string>{"images/a.jpg", picture("picture.jpg")},
                                      {"images/b c.png", picture("picture.png")},
                                      {"images/d.webp", webp()}}) {
    for (uint32_t i = 0; i < 700; ++i) {
      spill(scratch / ("in/" + name), test::mutated(content, i));
      EXPECT_THROW(convert(vtab_schema(), scratch / "in", scratch / "a.h5"), DataError);
    }
    spill(scratch / ("in/" + name), content);
  }
}

}  // namespace snell::data
