#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

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

static HostTensor tensor_of(DType dtype, std::vector<int64_t> shape) {
  auto bytes = std::make_shared<std::vector<std::byte>>(static_cast<size_t>(byte_count(dtype, shape).value()));
  for (size_t i = 0; i < bytes->size(); ++i)
    (*bytes)[i] = static_cast<std::byte>(dtype == DType::kBool ? i % 2 : i * 7);
  return {dtype, std::move(shape), *bytes, bytes};
}

static std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

// The header's length can look like another format's first bytes: a pickle's (0x80 0x02 is 640), a JSON text's (0x7b).
TEST(Safetensors, AnyHeaderLengthIsRecognised) {
  const Scratch scratch;
  for (const size_t length : {size_t{0x0280}, size_t{0x8e80}, size_t{0x7b}, size_t{0x227b}}) {
    std::string header = R"({"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})";
    header.resize(length, ' ');
    const std::string path = scratch / "a.safetensors";
    spill(path, file_of(header, "ab"));
    EXPECT_THAT(open_tensors(path)->names(), ElementsAre("w")) << length;
  }
}

TEST(Safetensors, RoundTripOfEveryType) {
  const Scratch scratch;
  const std::string path = scratch / "a.safetensors";
  std::vector<std::pair<std::string, HostTensor>> tensors;
  tensors.emplace_back("one byte", tensor_of(DType::kU8, {3}));  // makes all that follows misaligned
  for (DType dtype : {DType::kBool, DType::kI8, DType::kI16, DType::kI32, DType::kI64, DType::kF16, DType::kBF16,
                      DType::kF32, DType::kF64}) {
    tensors.emplace_back(name_of(dtype), tensor_of(dtype, {2, 3}));
  }
  tensors.emplace_back("empty", tensor_of(DType::kF32, {0, 5}));
  tensors.emplace_back("scalar", tensor_of(DType::kF64, {}));
  write_safetensors(path, tensors, {{"format", "pt"}, {"größe", "\"quoted\""}});

  const auto source = open_tensors(path);
  EXPECT_STREQ(source->format(), "safetensors");
  EXPECT_EQ(source->metadata().at("größe"), "\"quoted\"");
  ASSERT_EQ(source->names().size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(source->names()[i], tensors[i].first);
    const HostTensor read = source->read(tensors[i].first);
    EXPECT_EQ(read.dtype, tensors[i].second.dtype);
    EXPECT_EQ(read.shape, tensors[i].second.shape);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(read.bytes.data()) % static_cast<uintptr_t>(size_of(read.dtype)), 0u);
    ASSERT_EQ(read.bytes.size(), tensors[i].second.bytes.size());
    EXPECT_TRUE(std::equal(read.bytes.begin(), read.bytes.end(), tensors[i].second.bytes.begin()));
  }
}

TEST(Safetensors, TensorsOutliveTheirSource) {
  const Scratch scratch;
  write_safetensors(scratch / "a", {{"w", tensor_of(DType::kF32, {1000})}});
  const HostTensor tensor = open_tensors(scratch / "a")->read("w");
  EXPECT_EQ(tensor.bytes[1], std::byte{7});
}

TEST(Safetensors, ReadsTheFixtures) {
  const auto source = open_tensors(SNELL_SOURCE_DIR "/tests/fixtures/weights/vit_timm.safetensors");
  const HostTensor tensor = source->read("cls_token");
  EXPECT_EQ(tensor.dtype, DType::kF32);
  EXPECT_EQ(tensor.shape.size(), 3u);
  EXPECT_EQ(tensor.numel() * 4, static_cast<int64_t>(tensor.bytes.size()));
}

TEST(Safetensors, UnknownTensorNamesTheNearest) {
  const auto source = open_tensors(SNELL_SOURCE_DIR "/tests/fixtures/weights/vit_timm.safetensors");
  EXPECT_THAT(message_of<WeightsError>([&] { source->read("cls_tokn"); }), HasSubstr("'cls_token'"));
}

TEST(Safetensors, RefusesEveryUnsoundHeader) {
  const std::string entry = R"("dtype":"U8","shape":[2],"data_offsets":[0,2])";
  const std::vector<std::tuple<std::string, std::string, std::string>> cases{
      {"not a dictionary", "[]", "does not start with '{'"},
      {"not JSON", "{\"a\":", "not JSON"},
      {"rubbish behind", "{} x", "not JSON"},
      {"a zero byte behind", std::string("{}\0", 3), "not JSON"},
      {"two equal names", "{\"a\":{" + entry + "},\"a\":{" + entry + "}}", "appears twice"},
      {"two equal keys", R"({"a":{"dtype":"U8","dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "appears twice"},
      {"two equal metadata", R"({"__metadata__":{"x":"1","x":"2"}})", "appears twice"},
      {"metadata of numbers", R"({"__metadata__":{"x":1}})", "a number"},
      {"a missing key", R"({"a":{"dtype":"U8","shape":[2]}})", "'data_offsets' is missing"},
      {"an unknown key", "{\"a\":{" + entry + R"(,"size":3}})", "unknown key 'size'"},
      {"an unknown type", R"({"a":{"dtype":"F4","shape":[2],"data_offsets":[0,2]}})", "'F4' is not supported"},
      {"a negative extent", R"({"a":{"dtype":"U8","shape":[-2],"data_offsets":[0,2]}})", "negative"},
      {"a fraction", R"({"a":{"dtype":"U8","shape":[2.0],"data_offsets":[0,2]}})", "whole"},
      {"an extent of 2^63", R"({"a":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,2]}})", "too large"},
      {"an extent of 2^64", R"({"a":{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,2]}})", "whole"},
      {"a product of 2^64", R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})",
       "impossible"},
      {"bytes of 2^65", R"({"a":{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,0]}})", "impossible"},
      {"a wrong size", R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,2]}})", "needs 3 bytes"},
      {"three offsets", R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1,2]}})", "two numbers"},
      {"offsets in reverse", R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[2,0]}})", "ends before"},
      {"a hole", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "hole"},
      {"an overlap", "{\"a\":{" + entry + "},\"b\":{" + entry + "}}", "overlaps"},
      {"a tail", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "2 follow the header"},
      {"beyond the end", R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", "cut off"},
      {"nested lists", R"({"a":{"dtype":"U8","shape":[[2]],"data_offsets":[0,2]}})", "a list"},
      {"a tensor that is null", R"({"a":null})", "a null"},
      {"not UTF-8", "{\"\xff\":{" + entry + "}}", "not JSON"},
  };
  const Scratch scratch;
  for (const auto& [what, header, expected] : cases) {
    spill(scratch / "a", file_of(header, "xy"));
    const std::string message = message_of<WeightsError>([&] { open_tensors(scratch / "a"); });
    if (header[0] == '{') {
      EXPECT_THAT(message, HasSubstr(expected)) << what;
    }
    EXPECT_THAT(message, HasSubstr(scratch / "a")) << what;
  }
}

TEST(Safetensors, RefusesWrongLengths) {
  const Scratch scratch;
  std::string file = file_of("{}", "");
  spill(scratch / "short", file.substr(0, 5));
  spill(scratch / "empty", "");
  for (uint64_t length : {uint64_t{3}, uint64_t{100'000'001}, ~uint64_t{0}, uint64_t{1} << 63}) {
    std::memcpy(file.data(), &length, 8);
    spill(scratch / "length", file);
    EXPECT_THAT(message_of<WeightsError>([&] { open_tensors(scratch / "length"); }), HasSubstr("claims"));
  }
  EXPECT_THROW(open_tensors(scratch / "short"), WeightsError);
  EXPECT_THAT(message_of<WeightsError>([&] { open_tensors(scratch / "empty"); }), HasSubstr("is empty"));
  EXPECT_THAT(message_of<WeightsError>([&] { open_tensors(scratch / "none"); }), HasSubstr("No such file"));
  EXPECT_THAT(message_of<WeightsError>([&] { open_tensors(scratch.path()); }), HasSubstr("a folder"));
}

TEST(Safetensors, RefusesABoolThatIsNeither) {
  const Scratch scratch;
  spill(scratch / "a",
        file_of(R"({"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", std::string("\x01\x02", 2)));
  EXPECT_THAT(message_of<WeightsError>([&] { open_tensors(scratch / "a")->read("a"); }), HasSubstr("0 and 1"));
}

TEST(Safetensors, WriterRefusesWhatItCouldNotReadBack) {
  const Scratch scratch;
  const HostTensor tensor = tensor_of(DType::kF32, {2});
  EXPECT_THROW(write_safetensors(scratch / "a", {{"w", tensor}, {"w", tensor}}), core::Error);
  HostTensor wrong = tensor;
  wrong.shape = {3};
  EXPECT_THROW(write_safetensors(scratch / "a", {{"w", wrong}}), core::Error);
  EXPECT_FALSE(std::filesystem::exists(scratch / "a"));
  EXPECT_THROW(write_safetensors(scratch / "no/such/folder", {{"w", tensor}}), core::DiskError);
}

TEST(Safetensors, MutatedFilesNeverCrash) {
  const Scratch scratch;
  write_safetensors(scratch / "a", {{"weight", tensor_of(DType::kF32, {5, 7})}, {"mask", tensor_of(DType::kBool, {9})}},
                    {{"format", "pt"}});
  const std::string sound = slurp(scratch / "a");
  int refused = 0;
  for (uint32_t i = 0; i < 2000; ++i) {
    spill(scratch / "b", test::mutated(sound, i));
    try {
      const auto source = open_tensors(scratch / "b");
      for (const std::string& name : source->names()) source->read(name);
    } catch (const WeightsError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
}

}  // namespace snell::io
