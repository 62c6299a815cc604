// safetensors in shards with an index, and folders.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "snell/core/error.h"
#include "snell/io/tensor_source.h"
#include "support/scratch.h"

namespace snell::io {

using core::WeightsError;
using test::message_of;
using test::Scratch;
using test::spill;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

static HostTensor tensor_of(uint8_t value) {
  auto bytes = std::make_shared<std::vector<std::byte>>(3, std::byte{value});
  return {DType::kU8, {3}, *bytes, bytes};
}

// Two shards: a.safetensors with "u" and "v", b.safetensors with "w".
static void write_shards(const Scratch& scratch) {
  write_safetensors(scratch / "a.safetensors", {{"u", tensor_of(1)}, {"v", tensor_of(2)}});
  write_safetensors(scratch / "b.safetensors", {{"w", tensor_of(3)}});
}

static const char* const kIndex = "model.safetensors.index.json";
static const char* const kSound =
    R"({"metadata": {"total_size": 9, "more": [1, {"weight_map": null}]},
 "weight_map": {"w": "b.safetensors", "u": "a.safetensors", "v": "a.safetensors"}})";

TEST(Sharded, ReadsAllShardsByTheIndexOrItsFolder) {
  const Scratch scratch;
  write_shards(scratch);
  spill(scratch / kIndex, kSound);
  for (const std::string& path : {scratch / kIndex, scratch.path()}) {
    const auto source = open_tensors(path);
    EXPECT_STREQ(source->format(), "safetensors (sharded)");
    EXPECT_EQ(source->path(), scratch / kIndex);
    EXPECT_THAT(source->names(), ElementsAre("u", "v", "w"));
    for (uint8_t value = 1; value <= 3; ++value) {
      const std::string name(1, static_cast<char>('t' + value));
      EXPECT_EQ(source->read(name).bytes[2], std::byte{value});
      EXPECT_EQ(source->describe(name).dtype, DType::kU8);
    }
    EXPECT_THAT(message_of<WeightsError>([&] { source->read("x"); }), HasSubstr("no tensor 'x'"));
    source->verify();
  }
}

TEST(Sharded, AFolderMayHoldOneWholeFile) {
  const Scratch scratch;
  write_safetensors(scratch / "model.safetensors", {{"w", tensor_of(3)}});
  EXPECT_STREQ(open_tensors(scratch.path())->format(), "safetensors");
}

TEST(Sharded, RefusesEveryUnsoundIndex) {
  const std::string a = R"("u": "a.safetensors", "v": "a.safetensors")", b = R"("w": "b.safetensors")";
  const std::vector<std::pair<std::string, std::string>> cases{
      {"{}", "no weight_map"},
      {R"({"weight_map": {}})", "no weight_map"},
      {R"({"weight_map": 3})", "something else"},
      {R"({"weight_map": "a.safetensors"})", "not an object"},
      {R"({"weight_map": ["a.safetensors"]})", "a list"},
      {R"({"weight_map": {"u": {"a": "b"}}})", "holds an object"},
      {R"({"weight_map": {"u": null}})", "something else"},
      {R"({"weight_map": {"u": "a.safetensors", "u": "a.safetensors"}})", "'u' appears twice"},
      {R"({"weight_map": {)" + b + R"(}, "weight_map": {)" + b + "}}", "two weight_maps"},
      {R"({"weight_map": {)" + a + "}", "not JSON"},
      {std::string("{\"weight_map\": {}}\0", 19), "zero byte"},
      {R"({"weight_map": {"u": "../a.safetensors"}})", "not the plain name"},
      {R"({"weight_map": {"u": "/etc/passwd"}})", "not the plain name"},
      {R"({"weight_map": {"u": ".."}})", "not the plain name"},
      {R"({"weight_map": {"u": ""}})", "not the plain name"},
      {R"({"weight_map": {"u": "a\u0000b"}})", "not the plain name"},
      {R"({"weight_map": {"u": "none.safetensors"}})", "No such file"},
      {R"({"weight_map": {"u": "a.safetensors"}})", "which its weight_map does not name"},
      {R"({"weight_map": {"u": "a.safetensors", "v": "b.safetensors"}})", "places in another file"},
      {R"({"weight_map": {)" + a + R"(, "x": "a.safetensors"}})", "'x' is not in 'a.safetensors'"},
      {R"({"weight_map": {"u": ")" + std::string(kIndex) + R"("}})", "is not a sound safetensors file"},
  };
  const Scratch scratch;
  write_shards(scratch);
  for (const auto& [index, expected] : cases) {
    spill(scratch / kIndex, index);
    EXPECT_THAT(message_of<WeightsError>([&] { open_tensors(scratch / kIndex); }), HasSubstr(expected)) << index;
  }
  spill(scratch / kIndex, std::string(100'000, '[') + kSound);
  EXPECT_THROW(open_tensors(scratch / kIndex), WeightsError);
  spill(scratch / kIndex, "{\"a\":" + std::string(100'000, '['));
  EXPECT_THROW(open_tensors(scratch / kIndex), WeightsError);
}

}  // namespace snell::io
