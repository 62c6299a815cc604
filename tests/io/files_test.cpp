#include "snell/io/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "snell/core/error.h"
#include "support/scratch.h"

namespace snell::io {

using core::DataError;
using test::message_of;
using test::Scratch;
using test::slurp;
using test::spill;
using ::testing::HasSubstr;

static std::string gzipped(const std::string& text, const std::string& path) {
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  return slurp(path);
}

TEST(AtomicFile, OldContentStaysUntilCommit) {
  const Scratch scratch;
  write_file(scratch / "a", "old");
  {
    AtomicFile file(scratch / "a");
    file.write("half of the n");
    EXPECT_EQ(slurp(scratch / "a"), "old");
  }
  EXPECT_EQ(slurp(scratch / "a"), "old");
  write_file(scratch / "a", "new");
  EXPECT_EQ(slurp(scratch / "a"), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(scratch.path()), {}), 1) << "a temporary file was left";
}

TEST(AtomicFile, SaysWhyItCannotWrite) {
  const Scratch scratch;
  EXPECT_THAT(message_of<core::DiskError>([&] { write_file(scratch / "none/a", "x"); }), HasSubstr("No such file"));
  std::filesystem::create_directories(scratch / "folder");
  EXPECT_THROW(write_file(scratch / "folder", "x"), core::DiskError);
  EXPECT_THROW(AtomicFile("/dev/full/a"), core::DiskError);
}

TEST(ReadFile, HasABudget) {
  const Scratch scratch;
  spill(scratch / "a", "12345");
  EXPECT_EQ(read_file(scratch / "a", 5, raise_data_error).size(), 5u);
  EXPECT_THAT(message_of<DataError>([&] { read_file(scratch / "a", 4, raise_data_error); }), HasSubstr("at most 4"));
  EXPECT_THROW(read_file(scratch / "a", 4, raise_weights_error), core::WeightsError);
  EXPECT_THAT(message_of<DataError>([&] { read_file(scratch.path(), 4, raise_data_error); }), HasSubstr("a folder"));
}

TEST(ReadMaybeGzipped, UnpacksWithinItsBudget) {
  const Scratch scratch;
  const std::string text(3'000'000, 'x');
  const std::string packed = gzipped(text, scratch / "a.gz");
  const std::vector<std::byte> read = read_maybe_gzipped(scratch / "a.gz", text.size(), raise_data_error);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(read.data()), read.size()), text);
  EXPECT_THAT(message_of<DataError>([&] { read_maybe_gzipped(scratch / "a.gz", 2'999'999, raise_data_error); }),
              HasSubstr("more than"));
  spill(scratch / "plain", "plain");
  EXPECT_EQ(read_maybe_gzipped(scratch / "plain", 10, raise_data_error).size(), 5u);
}

TEST(ReadMaybeGzipped, FindsDamage) {
  const Scratch scratch;
  std::string packed = gzipped("some text that is long enough to be cut somewhere", scratch / "a.gz");
  spill(scratch / "cut.gz", packed.substr(0, packed.size() - 6));
  EXPECT_THAT(message_of<DataError>([&] { read_maybe_gzipped(scratch / "cut.gz", 1000, raise_data_error); }),
              HasSubstr("cut off"));
  packed[packed.size() - 7] ^= 1;  // within the checksum
  spill(scratch / "flip.gz", packed);
  EXPECT_THAT(message_of<DataError>([&] { read_maybe_gzipped(scratch / "flip.gz", 1000, raise_data_error); }),
              HasSubstr("damaged"));
}

TEST(Printable, ShowsHostileNamesInOneLine) {
  EXPECT_EQ(printable("a\x1b[31m\nb"), "a?[31m?b");
  EXPECT_EQ(printable(std::string(300, 'x')).size(), 203u);
}

}  // namespace snell::io
