#include "snell/io/hdf5.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>

#include <numeric>

#include "snell/core/error.h"
#include "support/scratch.h"

namespace snell::io {

using core::DataError;
using test::message_of;
using test::Scratch;
using test::slurp;
using test::spill;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

static void write_sound(const std::string& path) {
  Hdf5File file = Hdf5File::create(path);
  file.create_group("images");
  const std::vector<uint64_t> table{1, 2, 3, 4, 5, 6};
  file.write<uint64_t>("images/table", table, 2);
  file.write<int64_t>("images/none", {});
  file.create_bytes("images/blob", 5);
  const std::string text = "hello";
  file.write_bytes("images/blob", 0, std::as_bytes(std::span(text).first(2)));
  file.write_bytes("images/blob", 2, std::as_bytes(std::span(text).subspan(2)));
  file.write_attribute("", "source", "somewhere");
  file.write_attribute("", "nothing", "");
  file.write_attribute("images", "block", uint64_t{1} << 40);
  file.close();
}

static void read_all(const std::string& path) {
  const Hdf5File file = Hdf5File::open(path, raise_data_error);
  for (const std::string& name : file.children("images")) file.shape("images/" + name);
  file.read<uint64_t>("images/table", {3, 2});
  file.read<int64_t>("images/none", {0});
  file.bytes_extent("images/blob");
  file.text_attribute("", "source");
  file.number_attribute("images", "block");
}

TEST(Hdf5, RoundTrip) {
  const Scratch scratch;
  write_sound(scratch / "a.h5");
  const Hdf5File file = Hdf5File::open(scratch / "a.h5", raise_data_error);
  EXPECT_THAT(file.children(""), ElementsAre("images"));
  EXPECT_THAT(file.children("images"), ElementsAre("blob", "none", "table"));
  EXPECT_THAT(file.shape("images/table"), ElementsAre(3, 2));
  EXPECT_THAT(file.read<uint64_t>("images/table", {3, 2}), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_TRUE(file.read<int64_t>("images/none", {0}).empty());
  EXPECT_EQ(file.text_attribute("", "source"), "somewhere");
  EXPECT_EQ(file.text_attribute("", "nothing"), "");
  EXPECT_EQ(file.number_attribute("images", "block"), uint64_t{1} << 40);
  EXPECT_TRUE(file.has("images/blob"));
  EXPECT_FALSE(file.has("images/blub"));
  EXPECT_FALSE(file.has("splits/train"));
  const Hdf5Extent extent = file.bytes_extent("images/blob");
  EXPECT_EQ(slurp(scratch / "a.h5").substr(extent.offset, extent.size), "hello");
}

TEST(Hdf5, SaysWhatIsWrong) {
  const Scratch scratch;
  write_sound(scratch / "a.h5");
  const Hdf5File file = Hdf5File::open(scratch / "a.h5", raise_data_error);
  EXPECT_THAT(message_of<DataError>([&] { file.read<uint64_t>("images/x", {1}); }), HasSubstr("'images/x' is missing"));
  EXPECT_THAT(message_of<DataError>([&] { file.read<int64_t>("images/table", {3, 2}); }), HasSubstr("element type"));
  EXPECT_THAT(message_of<DataError>([&] { file.read<uint64_t>("images/table", {6}); }),
              HasSubstr("[3, 2], expected [6]"));
  EXPECT_THAT(message_of<DataError>([&] { file.text_attribute("", "nope"); }), HasSubstr("lacks the attribute 'nope'"));
  EXPECT_THROW(file.text_attribute("images", "block"), DataError);
  EXPECT_THROW(file.number_attribute("", "source"), DataError);
  EXPECT_THROW(Hdf5File::create(scratch / "no/folder"), core::DiskError);
  EXPECT_THROW(Hdf5File::open(scratch / "none", raise_weights_error), core::WeightsError);
}

// What h5py and others can write, and a mutated file can turn into a crash.
TEST(Hdf5, RefusesWhatIsNotPlain) {
  const Scratch scratch;
  write_sound(scratch / "a.h5");
  const hid_t file = H5Fopen((scratch / "a.h5").c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  ASSERT_GE(file, 0);
  H5Lcreate_soft("/images/table", file, "soft", H5P_DEFAULT, H5P_DEFAULT);
  H5Lcreate_external("other.h5", "/x", file, "external", H5P_DEFAULT, H5P_DEFAULT);
  const hsize_t shape = 6;
  const hid_t space = H5Screate_simple(1, &shape, nullptr);
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(creation, 1, &shape);
  H5Dclose(H5Dcreate2(file, "chunked", H5T_STD_U64LE, space, H5P_DEFAULT, creation, H5P_DEFAULT));
  const hid_t outside = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_external(outside, "/etc/hostname", 0, H5F_UNLIMITED);
  H5Dclose(H5Dcreate2(file, "outside", H5T_STD_U64LE, space, H5P_DEFAULT, outside, H5P_DEFAULT));
  H5Dclose(H5Dcreate2(file, "unallocated", H5T_STD_U64LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  const hid_t text = H5Tcopy(H5T_C_S1);
  H5Tset_size(text, H5T_VARIABLE);
  const hid_t scalar = H5Screate(H5S_SCALAR);
  H5Aclose(H5Acreate2(file, "variable", text, scalar, H5P_DEFAULT, H5P_DEFAULT));
  for (hid_t id : {creation, outside}) H5Pclose(id);
  for (hid_t id : {space, scalar}) H5Sclose(id);
  H5Tclose(text);
  ASSERT_GE(H5Fclose(file), 0);

  const Hdf5File open = Hdf5File::open(scratch / "a.h5", raise_data_error);
  const auto refusal = [&](const char* name) { return message_of<DataError>([&] { open.read<uint64_t>(name, {6}); }); };
  EXPECT_THAT(refusal("soft"), HasSubstr("link"));
  EXPECT_THAT(refusal("external"), HasSubstr("link"));
  EXPECT_THAT(refusal("chunked"), HasSubstr("contiguously"));
  EXPECT_THAT(refusal("outside"), HasSubstr("other files"));
  EXPECT_THAT(refusal("unallocated"), HasSubstr("within the file"));
  EXPECT_THAT(message_of<DataError>([&] { open.text_attribute("", "variable"); }), HasSubstr("fixed length"));
}

TEST(Hdf5, MutatedFilesNeverCrash) {
  const Scratch scratch;
  write_sound(scratch / "a.h5");
  const std::string sound = slurp(scratch / "a.h5");
  int refused = 0;
  for (uint32_t i = 0; i < 2000; ++i) {
    spill(scratch / "b.h5", test::mutated(sound, i));
    try {
      read_all(scratch / "b.h5");
    } catch (const DataError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 200);
}

}  // namespace snell::io
