#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zip.h>

#include <cstring>

#include "snell/core/error.h"
#include "snell/io/tensor_source.h"
#include "support/scratch.h"

namespace snell::io {

using core::WeightsError;
using test::message_of;
using test::Scratch;
using test::slurp;
using test::spill;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

static std::string npy(const std::string& dictionary, const std::string& data, int version = 1) {
  const size_t length_bytes = version == 1 ? 2 : 4;
  const uint32_t length = static_cast<uint32_t>(dictionary.size());
  std::string out = std::string("\x93NUMPY", 6) + static_cast<char>(version) + '\0';
  out.append(reinterpret_cast<const char*>(&length), length_bytes);
  return out + dictionary + data;
}

static std::string dictionary(const std::string& descr, const std::string& shape, bool fortran = false) {
  return "{'descr': '" + descr + "', 'fortran_order': " + (fortran ? "True" : "False") + ", 'shape': " + shape +
         ", }\n";
}

static void write_zip(const std::string& path, const std::vector<std::pair<std::string, std::string>>& entries,
                      bool deflate = false) {
  std::filesystem::remove(path);
  int code = 0;
  zip_t* archive = zip_open(path.c_str(), ZIP_CREATE, &code);
  ASSERT_NE(archive, nullptr);
  for (const auto& [name, content] : entries) {
    zip_source_t* source = zip_source_buffer(archive, content.data(), content.size(), 0);
    const zip_int64_t index = zip_file_add(archive, name.c_str(), source, 0);
    ASSERT_GE(index, 0);
    zip_set_file_compression(archive, static_cast<zip_uint64_t>(index), deflate ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0);
  }
  ASSERT_EQ(zip_close(archive), 0);
}

static std::string refusal(const std::string& array) {
  const Scratch scratch;
  write_zip(scratch / "a.npz", {{"w.npy", array}});
  return message_of<WeightsError>([&] { open_tensors(scratch / "a.npz")->read("w"); });
}

template <class T>
static std::vector<T> values(const HostTensor& tensor) {
  std::vector<T> out(tensor.bytes.size() / sizeof(T));
  std::memcpy(out.data(), tensor.bytes.data(), tensor.bytes.size());
  return out;
}

TEST(Npz, ReadsGooglesFormat) {
  const auto source = open_tensors(SNELL_SOURCE_DIR "/tests/fixtures/weights/vit_google.npz");
  EXPECT_STREQ(source->format(), "npz");
  const HostTensor kernel = source->read("Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel");
  EXPECT_EQ(kernel.dtype, DType::kF32);
  EXPECT_EQ(kernel.shape.size(), 3u);  // [in, heads, head_dim]
  for (const std::string& name : source->names()) EXPECT_EQ(source->read(name).numel(), source->describe(name).numel());
  const auto prefixed = open_tensors(SNELL_SOURCE_DIR "/tests/fixtures/weights/vit_google_opt_target.npz");
  EXPECT_EQ(values<float>(prefixed->read("opt/target/cls")), values<float>(source->read("cls")));
}

// JAX keeps the state of its random numbers beside the weights, as unsigned numbers of four bytes.
TEST(Npz, ArraysOfOtherTypesAreLeftOut) {
  const Scratch scratch;
  write_zip(scratch / "a.npz", {{"rng.npy", npy(dictionary("<u4", "(2,)"), "01234567")},
                                {"w.npy", npy(dictionary("<f4", "(1,)"), "0123")},
                                {"text.npy", npy(dictionary("<U1", "()"), "0123")}});
  const auto source = open_tensors(scratch / "a.npz");
  EXPECT_EQ(source->names(), std::vector<std::string>{"w"});
  EXPECT_EQ(source->metadata().at("not_tensors"), "rng, text");
  source->verify();
}

TEST(Npz, ReadsEveryTypeAndVersion) {
  const Scratch scratch;
  const std::vector<std::pair<std::string, DType>> types{
      {"<f2", DType::kF16}, {"<f4", DType::kF32}, {"<f8", DType::kF64}, {"|i1", DType::kI8},  {"<i2", DType::kI16},
      {"<i4", DType::kI32}, {"<i8", DType::kI64}, {"|u1", DType::kU8},  {"|b1", DType::kBool}};
  for (bool deflate : {false, true}) {
    std::vector<std::pair<std::string, std::string>> entries;
    for (size_t i = 0; i < types.size(); ++i) {
      const std::string data(static_cast<size_t>(3 * size_of(types[i].second)), '\1');
      entries.emplace_back(types[i].first + ".npy", npy(dictionary(types[i].first, "(3,)"), data, 1 + int(i % 3)));
    }
    entries.emplace_back("scalar.npy", npy(dictionary("<i8", "()"), std::string("\5\0\0\0\0\0\0\0", 8)));
    entries.emplace_back("none.npy", npy(dictionary("<f4", "(0, 7)"), ""));
    write_zip(scratch / "a.npz", entries, deflate);
    const auto source = open_tensors(scratch / "a.npz");
    for (const auto& [name, dtype] : types) {
      EXPECT_EQ(source->read(name).dtype, dtype);
      EXPECT_EQ(source->read(name).bytes.back(), std::byte{1});
    }
    EXPECT_THAT(values<int64_t>(source->read("scalar")), ElementsAre(5));
    EXPECT_EQ(source->read("none").numel(), 0);
  }
}

TEST(Npz, TurnsFortranOrderIntoRowMajor) {
  const Scratch scratch;
  const std::string columns("\0\3\1\4\2\5", 6);  // of [[0, 1, 2], [3, 4, 5]]
  write_zip(scratch / "a.npz", {{"w.npy", npy(dictionary("|u1", "(2, 3)", true), columns)}});
  EXPECT_THAT(values<uint8_t>(open_tensors(scratch / "a.npz")->read("w")), ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST(Npz, RefusesWhatItDoesNotRead) {
  const std::string one(4, '\0');
  EXPECT_THAT(refusal(npy(dictionary("|O", "(1,)"), one)), HasSubstr("Python objects"));
  EXPECT_THAT(refusal(npy(dictionary(">f4", "(1,)"), one)), HasSubstr("big-endian"));
  EXPECT_THAT(refusal(npy(dictionary("<c8", "(1,)"), one)), HasSubstr("has no tensor 'w'"));
  EXPECT_THAT(refusal(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", one)),
              HasSubstr("structured"));
  EXPECT_THAT(refusal(npy(dictionary("<f4", "(2,)"), one)), HasSubstr("do not agree"));
  EXPECT_THAT(refusal(npy(dictionary("<f4", "(4294967296, 4294967296)"), one)), HasSubstr("do not agree"));
  EXPECT_THAT(refusal(npy(dictionary("<f4", "(9223372036854775808,)"), one)), HasSubstr("in range"));
  EXPECT_THAT(refusal(npy(dictionary("<f4", "(-1,)"), one)), HasSubstr("in range"));
  EXPECT_THAT(refusal(npy("{'descr': '<f4', 'descr': '<f4'}", one)), HasSubstr("twice"));
  EXPECT_THAT(refusal(npy("{'descr': '<f4', 'fortran_order': False}", one)), HasSubstr("lacks"));
  EXPECT_THAT(refusal(npy("{'descr': '<f4', 'a': 3}", one)), HasSubstr("unknown key 'a'"));
  EXPECT_THAT(refusal(npy(dictionary("<f4", "(1,)") + "x", one)), HasSubstr("goes on"));
  EXPECT_THAT(refusal(npy(dictionary("<f4", "(1,)"), one, 9)), HasSubstr("version 9"));
  EXPECT_THAT(refusal("\x93NUMP"), HasSubstr("does not start"));
  EXPECT_THAT(refusal(std::string("\x93NUMPY\x02\0\xff\xff\xff\x7f", 12)), HasSubstr("claims"));
  EXPECT_THAT(refusal(npy(dictionary("|b1", "(1,)"), "\x02")), HasSubstr("0 and 1"));
}

TEST(Npz, RefusesOtherArchives) {
  const Scratch scratch;
  write_zip(scratch / "a.npz", {{"model/data.pkl", "x"}});
  EXPECT_THAT(message_of<WeightsError>([&] { open_tensors(scratch / "a.npz"); }),
              HasSubstr("its pickle does not start"));
  spill(scratch / "b.npz", "PK\x03\x04 and nothing");
  EXPECT_THAT(message_of<WeightsError>([&] { open_tensors(scratch / "b.npz"); }), HasSubstr("cut off"));
}

TEST(Npz, FindsAFlippedBitInTheData) {
  const Scratch scratch;
  write_zip(scratch / "a.npz", {{"w.npy", npy(dictionary("<f4", "(4,)"), "0123456789abcdef")}});
  std::string file = slurp(scratch / "a.npz");
  file[file.find("789a")] ^= 4;
  spill(scratch / "b.npz", file);
  const auto source = open_tensors(scratch / "b.npz");
  EXPECT_THAT(message_of<WeightsError>([&] { source->read("w"); }), HasSubstr("damaged"));
}

TEST(Npz, MutatedFilesNeverCrash) {
  const Scratch scratch;
  int refused = 0;
  for (bool deflate : {false, true}) {
    write_zip(scratch / "a.npz",
              {{"w.npy", npy(dictionary("<f4", "(2, 4)"), "0123456789abcdef0123456789abcdef")},
               {"v.npy", npy(dictionary("<i8", "(2, 1)", true), "0123456789abcdef")}},
              deflate);
    const std::string sound = slurp(scratch / "a.npz");
    for (uint32_t i = 0; i < 1500; ++i) {
      spill(scratch / "b.npz", test::mutated(sound, i));
      try {
        const auto source = open_tensors(scratch / "b.npz");
        for (const std::string& name : source->names()) source->read(name);
      } catch (const WeightsError&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace snell::io
