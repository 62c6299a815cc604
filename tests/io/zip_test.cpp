// Zip archives that lie about themselves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../../src/io/zip_file.h"
#include "snell/core/error.h"
#include "support/scratch.h"
#include "support/zip_writer.h"

namespace snell::io {

using core::WeightsError;
using test::message_of;
using ::testing::HasSubstr;

static FileBytes file_of(const std::string& content) {
  const auto* begin = reinterpret_cast<const std::byte*>(content.data());
  return FileBytes::of("a.zip", {begin, begin + content.size()});
}

static std::string refusal(const std::string& content) {
  return message_of<WeightsError>([&] { ZipFile(file_of(content)).verify(); });
}

static std::string two_entries() {
  test::ZipWriter zip;
  zip.add("one", "first");
  zip.add("two", "second");
  return zip.finish();
}

TEST(Zip, ReadsEntries) {
  const ZipFile zip(file_of(two_entries()));
  ASSERT_EQ(zip.entries().size(), 2u);
  const FileBytes second = zip.read(*zip.find("two"), 0);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(second.bytes.data()), second.bytes.size()), "second");
  EXPECT_EQ(zip.find("three"), nullptr);
  EXPECT_TRUE(ZipFile(file_of(test::ZipWriter().finish())).entries().empty());
}

TEST(Zip, RefusesArchivesThatContradictThemselves) {
  const std::string sound = two_entries();
  const size_t directory = sound.find("PK\1\2"), end = sound.find("PK\5\6");
  const auto changed = [&](size_t at, const std::string& bytes) {
    std::string out = sound;
    return out.replace(at, bytes.size(), bytes);
  };
  test::ZipWriter twice;
  twice.add("one", "x");
  twice.add("one", "x");
  EXPECT_THAT(refusal(twice.finish()), HasSubstr("appears twice"));
  EXPECT_THAT(refusal(changed(directory + 42, "\x01")), HasSubstr("gap or overlaps"));             // place of "one"
  EXPECT_THAT(refusal(changed(directory + 49 + 42, std::string(1, '\0'))), HasSubstr("cut off"));  // "two" on "one"
  EXPECT_THAT(refusal(changed(directory + 49 + 42, "\xf0\xff\xff\xff")), HasSubstr("before the directory"));
  EXPECT_THAT(refusal(changed(directory + 8, "\x01")), HasSubstr("encrypted"));
  EXPECT_THAT(refusal(changed(directory + 10, "\x0c")), HasSubstr("another method"));
  EXPECT_THAT(refusal(changed(directory + 24, "\xff")), HasSubstr("claims"));
  EXPECT_THAT(refusal(changed(directory + 46, "X")), HasSubstr("another name"));
  EXPECT_THAT(refusal(changed(30 + 3, "F")), HasSubstr("checksum"));
  EXPECT_THAT(refusal(changed(end + 10, "\x03")), HasSubstr("contradicts itself"));
  EXPECT_THAT(refusal(changed(end + 8, "\xff\xff\xff\xff")), HasSubstr("65535 entries"));
  EXPECT_THAT(refusal(changed(end + 16, "\xff\xff\xff\xff")), HasSubstr("where its end record says"));
  EXPECT_THAT(refusal("x" + sound), HasSubstr("where its end record says"));
  EXPECT_THAT(refusal(sound + "x"), HasSubstr("end record is missing"));
  EXPECT_THAT(refusal("PK\3\4"), HasSubstr("cut off"));
}

}  // namespace snell::io
