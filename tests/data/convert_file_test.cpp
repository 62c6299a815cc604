#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "snell/core/error.h"
#include "snell/data/dataset_file.h"
#include "snell/data/dataset_writer.h"
#include "snell/io/hdf5.h"
#include "support/scratch.h"

namespace snell::data {

using core::DataError;
using test::message_of;
using test::Scratch;
using test::slurp;
using test::spill;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

static const std::vector<std::string> kImages{"first picture", "0123", "abcdefghijkl"};

static void write_dataset(const std::string& path) {
  DatasetWriter writer(path, {"tiny", "a test", "none", "snell test", {"cat", "dog"}},
                       {{"cat/1.jpg", 0, Encoding::kFile, 30, 40, kImages[0].size()},
                        {"a#1", 1, Encoding::kRawGrey, 2, 2, kImages[1].size()},
                        {"a#2", 1, Encoding::kRawRgb, 1, 4, kImages[2].size()}},
                       {{"train", {2, 0}}, {"all", {0, 1, 2}}});
  for (const std::string& image : kImages) writer.add(std::as_bytes(std::span(image)));
  writer.commit();
}

static std::string text_of(const Sample& sample) {
  return {reinterpret_cast<const char*>(sample.bytes.data()), sample.bytes.size()};
}

TEST(DatasetFile, RoundTrip) {
  const Scratch scratch;
  write_dataset(scratch / "a.h5");
  EXPECT_TRUE(looks_like_dataset(scratch / "a.h5"));
  const auto source = open_dataset(scratch / "a.h5", "train");
  ASSERT_EQ(source->size(), 2);
  EXPECT_EQ(source->num_classes(), 2);
  EXPECT_THAT(source->class_names(), ElementsAre("cat", "dog"));
  EXPECT_EQ(source->label(0), 1);
  EXPECT_EQ(source->name(1), "cat/1.jpg");
  const Sample raw = source->read(0);
  EXPECT_EQ(raw.encoding, Encoding::kRawRgb);
  EXPECT_EQ(raw.height, 1);
  EXPECT_EQ(raw.width, 4);
  EXPECT_EQ(text_of(raw), kImages[2]);
  EXPECT_EQ(source->read(1).height, 0) << "only raw pixels have a size here";
  EXPECT_EQ(text_of(source->read(1)), kImages[0]);
  EXPECT_THROW(source->read(2), core::Error);
  EXPECT_THROW(source->read(-1), core::Error);
}

TEST(DatasetFile, SaysWhatIsInside) {
  const Scratch scratch;
  write_dataset(scratch / "a.h5");
  const DatasetInfo info = describe_dataset(scratch / "a.h5");
  EXPECT_EQ(info.num_samples, 3);
  EXPECT_EQ(info.max_height, 30);
  ASSERT_EQ(info.splits.size(), 2u);
  EXPECT_EQ(info.splits[1].name, "train");
  EXPECT_THAT(info.splits[1].class_counts, ElementsAre(1, 1));
  const VerifyReport report = verify_dataset(scratch / "a.h5");
  EXPECT_TRUE(report.sound());
  EXPECT_THAT(dataset_text(info, &report), HasSubstr("every checksum matches: 3 samples, 1 blocks"));
  EXPECT_EQ(dataset_json(info, &report)["splits"]["all"]["size"], 3);
  EXPECT_EQ(dataset_json(info, &report)["verified"]["sound"], true);
}

TEST(DatasetFile, NamesTheUnknownSplitAndTheWrongFile) {
  const Scratch scratch;
  write_dataset(scratch / "a.h5");
  EXPECT_THAT(message_of<DataError>([&] { open_dataset(scratch / "a.h5", "trian"); }),
              HasSubstr("Did you mean 'train'"));
  spill(scratch / "b.h5", "not HDF5");
  EXPECT_FALSE(looks_like_dataset(scratch / "b.h5"));
  EXPECT_THAT(message_of<DataError>([&] { open_dataset(scratch / "b.h5", "all"); }), HasSubstr("snell convert"));
  EXPECT_THAT(message_of<DataError>([&] { open_dataset(scratch / "c.h5", "all"); }), HasSubstr("No such file"));
  EXPECT_FALSE(looks_like_dataset(scratch.path()));
  io::Hdf5File other = io::Hdf5File::create(scratch / "d.h5");
  other.write_attribute("", "format", "another");
  other.close();
  EXPECT_THAT(message_of<DataError>([&] { open_dataset(scratch / "d.h5", "all"); }), HasSubstr("another kind"));
}

TEST(DatasetFile, EveryFlippedBitOfASampleIsFound) {
  const Scratch scratch;
  write_dataset(scratch / "a.h5");
  const std::string sound = slurp(scratch / "a.h5");
  const size_t begin = sound.find("first picture");
  size_t flips = 0;
  for (size_t i = 0, at = begin; i < kImages.size(); at += kImages[i].size(), ++i) {
    for (size_t bit = 0; bit < 8 * kImages[i].size(); ++bit, ++flips) {
      std::string file = sound;
      file[at + bit / 8] = static_cast<char>(file[at + bit / 8] ^ (1 << bit % 8));
      spill(scratch / "b.h5", file);
      const auto source = open_dataset(scratch / "b.h5", "all");
      for (size_t j = 0; j < kImages.size(); ++j) {
        if (j == i) {
          EXPECT_THROW(source->read(static_cast<int64_t>(j)), DataError);
        } else {
          EXPECT_EQ(text_of(source->read(static_cast<int64_t>(j))), kImages[j]);
        }
      }
    }
  }
  EXPECT_EQ(flips, 8u * 29);
  const VerifyReport report = verify_dataset(scratch / "b.h5");
  EXPECT_THAT(report.damaged_samples, ElementsAre("a#2"));
  EXPECT_THAT(report.damaged_blocks, ElementsAre(0));
  EXPECT_THAT(dataset_text(describe_dataset(scratch / "b.h5"), &report), HasSubstr("DAMAGED"));
}

TEST(DatasetFile, MutatedFilesNeverCrashNorLie) {
  const Scratch scratch;
  write_dataset(scratch / "a.h5");
  const std::string sound = slurp(scratch / "a.h5");
  int refused = 0;
  for (uint32_t i = 0; i < 2000; ++i) {
    spill(scratch / "b.h5", test::mutated(sound, i));
    try {
      const auto source = open_dataset(scratch / "b.h5", "all");
      ASSERT_EQ(source->size(), 3);
      for (int64_t j = 0; j < 3; ++j) {
        EXPECT_EQ(text_of(source->read(j)), kImages[static_cast<size_t>(j)]);
        EXPECT_EQ(source->label(j), j == 0 ? 0 : 1);
      }
      verify_dataset(scratch / "b.h5");
    } catch (const DataError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
}

// Tables that a writer with a fault could have written: the checksum matches, the numbers do not make sense.
TEST(DatasetFile, RefusesTablesOutOfRange) {
  const Scratch scratch;
  const auto refusal = [&](SampleEntry entry, std::vector<uint64_t> indices) {
    DatasetWriter writer(scratch / "a.h5", {"tiny", "a test", "none", "snell test", {"cat"}}, {entry},
                         {{"train", indices}});
    writer.add(std::vector<std::byte>(entry.num_bytes));
    writer.commit();
    return message_of<DataError>([&] { open_dataset(scratch / "a.h5", "train"); });
  };
  EXPECT_THAT(refusal({"a", 1, Encoding::kFile, 1, 1, 4}, {0}), HasSubstr("label 1 of 1"));
  EXPECT_THAT(refusal({"a", -1, Encoding::kFile, 1, 1, 4}, {0}), HasSubstr("label -1"));
  EXPECT_THAT(refusal({"a", 0, Encoding::kRawGrey, 2, 3, 4}, {0}), HasSubstr("4 bytes for 2 x 3"));
  EXPECT_THAT(refusal({"a", 0, Encoding::kRawRgb, 0, 3, 4}, {0}), HasSubstr("4 bytes for 0 x 3"));
  EXPECT_THAT(refusal({"a", 0, static_cast<Encoding>(7), 2, 3, 4}, {0}), HasSubstr("unknown encoding"));
  EXPECT_THAT(refusal({"a", 0, Encoding::kFile, 1, 1, 0}, {0}), HasSubstr("no bytes"));
  EXPECT_THAT(refusal({"a", 0, Encoding::kFile, 1, 1, 4}, {1}), HasSubstr("names sample 1"));
  EXPECT_THAT(refusal({"a", 0, Encoding::kFile, 1, 1, 4}, {0, 0}), HasSubstr("twice"));
}

TEST(DatasetFile, AppearsOnlyWhenItIsComplete) {
  const Scratch scratch;
  {
    DatasetWriter writer(scratch / "a.h5", {"tiny", "a", "b", "c", {"cat"}}, {{"a", 0, Encoding::kFile, 1, 1, 4}}, {});
    EXPECT_THROW(writer.commit(), core::Error);
    EXPECT_THROW(writer.add(std::vector<std::byte>(3)), core::Error);
  }
  EXPECT_TRUE(std::filesystem::is_empty(scratch.path()));
}

TEST(DatasetFile, BlocksOfALargeBlobAreChecked) {
  const Scratch scratch;
  std::vector<SampleEntry> entries(5, {"a", 0, Encoding::kFile, 1, 1, 600'000});
  DatasetWriter writer(scratch / "a.h5", {"tiny", "a", "b", "c", {"cat"}}, entries, {{"train", {0, 1, 2, 3, 4}}});
  for (int i = 0; i < 5; ++i) writer.add(std::vector<std::byte>(600'000, static_cast<std::byte>('A' + i)));
  writer.commit();
  EXPECT_EQ(verify_dataset(scratch / "a.h5").blocks_checked, 3);
  const auto source = open_dataset(scratch / "a.h5", "train");
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int64_t i = 0; i < 50; ++i) {
        const Sample sample = source->read(i % 5);
        if (sample.bytes.front() != static_cast<std::byte>('A' + i % 5)) ++wrong[t];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(wrong, ElementsAre(0, 0, 0, 0));
  std::string file = slurp(scratch / "a.h5");
  file[file.find("BCCC")] = 'x';
  spill(scratch / "b.h5", file);
  const VerifyReport report = verify_dataset(scratch / "b.h5");
  EXPECT_EQ(report.damaged_samples.size(), 1u);
  EXPECT_THAT(report.damaged_blocks, ElementsAre(1));
}

}  // namespace snell::data
