// Files of torch.save that are wrong on purpose: each is refused with one sentence, whichever of the two layouts it
// has.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snell/core/error.h"
#include "snell/io/tensor_source.h"
#include "support/scratch.h"
#include "torch_writer.h"

namespace snell::io {

using core::WeightsError;
using test::le;
using test::message_of;
using test::Scratch;
using test::spill;
using ::testing::HasSubstr;
using ::testing::Not;
namespace pickle = test::pickle;

static const std::string kEight = "01234567012345670123456701234567";  // the bytes of eight floats

// A state dict with the one tensor "w", or with the values given.
static std::string with(const std::string& value) {
  return pickle::dict({pickle::text("w"), value});
}
static std::string sound() {
  return pickle::tensor(pickle::storage("0", 8), 0, {2, 4}, {4, 1});
}
static std::string repeated(const std::string& text, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

// Twenty tensors that are all the same element a million times.
static std::string repeated_views() {
  std::vector<std::string> items;
  for (int i = 0; i < 20; ++i) {
    items.push_back(pickle::text("w" + std::to_string(i)));
    items.push_back(pickle::tensor(pickle::storage("0", 8), 0, {1 << 20}, {0}));
  }
  return pickle::dict(items);
}

// As protocol 2 writes b"": beside the weights of many a training script, in an empty array.
TEST(TorchHostile, EmptyBytesAreHarmless) {
  const Scratch scratch;
  spill(scratch / "a.pth",
        test::torch_zip(pickle::dict({pickle::text("b"), pickle::call(pickle::global("__builtin__", "bytes"), {}),
                                      pickle::text("w"), sound()}),
                        kEight));
  const auto source = open_tensors(scratch / "a.pth");
  EXPECT_EQ(source->names(), std::vector<std::string>{"w"});
  EXPECT_EQ(source->metadata().at("not_tensors"), "b");
}

TEST(TorchHostile, RefusesEveryUnsoundPickle) {
  const auto of = [](const std::vector<int64_t>& shape, const std::vector<int64_t>& strides, int64_t offset = 0) {
    return with(pickle::tensor(pickle::storage("0", 8), offset, shape, strides));
  };
  constexpr int64_t kBig = INT64_MAX;
  const std::string rebuild = pickle::global("torch._utils", "_rebuild_tensor_v2");
  const std::vector<std::tuple<std::string, std::string, std::string>> cases{
      {"calls os.system", with(pickle::call(pickle::global("posix", "system"), {pickle::text("true")})),
       "'posix.system'"},
      {"calls eval", pickle::call(pickle::global("builtins", "eval"), {}), "'builtins.eval'"},
      {"makes an object of an unknown class", with(pickle::global("evil", "Class") + ")\x81"), "'evil.Class'"},
      {"names a class by a line break", with(pickle::global("os\x1b[2J", "x") + ")R"), "'os?[2J.x'"},
      {"calls a text", with(pickle::text("x") + ")R"), "not the name of a class"},
      {"calls without a tuple", with(rebuild + "]R"), "without a tuple"},
      {"items of a list", with("](" + pickle::text("k") + "Nu"), "what is not a dictionary"},
      {"items of a tensor", with(sound() + pickle::text("k") + "Ns"), "what is not a dictionary"},
      {"items of an opaque object",
       with(pickle::call(pickle::global("argparse", "Namespace"), {}) + pickle::text("k") + "Ns"),
       "what is not a dictionary"},
      {"appends to a dictionary", with("}Na"), "what is not a list"},
      {"attributes of a number", with("K\1}b"), "attributes of a plain value"},
      {"an odd number of items", "}(" + pickle::text("w") + "u", "a key without a value"},
      {"pairs that are none", with(pickle::call(pickle::global("collections", "OrderedDict"), {"](K\1e"})), "pairs"},
      {"an empty stack", "0", "empty stack"},
      {"a tuple over a mark", "N(\x86", "empty stack"},
      {"no mark", "Nt", "no mark"},
      {"values left over", "NN", "left over"},
      {"a memo never put", "h\5", "did not remember"},
      {"an opcode of protocol 0", "I1\n", "opcode 73"},
      {"an extension", "\x82\x01", "opcode 130"},
      {"protocol 9", "\x80\x09N", "protocol 9"},
      {"a text of 4 GB", "X\xff\xff\xff\xff", "cut off"},
      {"a text of 2^63 bytes", "\x8d" + le(uint64_t{1} << 63), "cut off"},
      {"a frame of 2^64 bytes", "\x95" + le(~uint64_t{0}) + "N", "cut off"},
      {"a line without an end", "cos", "cut off"},
      {"257 marks", repeated("(", 257), "256 levels"},
      {"257 nested tuples", "N" + repeated("\x85", 257), "256 levels"},
      {"257 nested lists", repeated("]", 257) + repeated("a", 256), "256 levels"},
      {"views that repeat a storage", repeated_views(), "repeats elements"},
      {"a storage's name of 300 bytes", with(pickle::tensor(pickle::storage(std::string(300, 'k'), 8), 0, {8}, {1})),
       "more than 256 bytes"},
      {"a million nodes", "(" + repeated("N", 1'000'000) + "t", "400000 nodes"},
      {"a million memos", "K\1" + repeated("\x94", 1'000'000), "400000 values"},
      {"a number", "K\1", "no dictionary"},
      {"an object", pickle::call(pickle::global("argparse", "Namespace"), {}), "'argparse.Namespace'"},
      {"no tensors", pickle::dict({pickle::text("epoch"), "K\1"}), "has the keys: epoch"},
      {"no keys", "}", "has the keys: none"},
      {"two equal names", pickle::dict({pickle::text("w"), sound(), pickle::text("w"), sound()}), "appears twice"},
      {"a name that is a number", pickle::dict({"K\1", sound()}), "not text"},
      {"a negative extent", of({-2, 4}, {4, 1}), "impossible shape"},
      {"an extent of 2^63 - 1", of({kBig}, {1}), "impossible shape"},
      {"a product of 2^64", of({int64_t{1} << 32, int64_t{1} << 32}, {1, 1}), "impossible shape"},
      {"2^61 repetitions", of({int64_t{1} << 60}, {0}), ""},
      {"a negative stride", of({2, 4}, {-4, 1}, 7), "negative stride"},
      {"a stride of 2^63 - 1", of({3, 2}, {kBig, 1}), "outside of its storage"},
      {"a negative offset", of({2}, {1}, -1), "outside of its storage"},
      {"an offset of 2^63 - 1", of({2}, {1}, kBig), "outside of its storage"},
      {"an offset behind the end", of({0}, {1}, 9), "outside of its storage"},
      {"one element too many", of({9}, {1}), "outside of its storage"},
      {"one element too far", of({2, 4}, {5, 1}), "outside of its storage"},
      {"more strides than extents", of({2}, {1, 1}), "as many strides"},
      {"33 extents", of(std::vector<int64_t>(33, 1), std::vector<int64_t>(33, 1)), "at most 32"},
      {"an extent that is a text",
       with(pickle::call(rebuild,
                         {pickle::storage("0", 8), pickle::number(0), pickle::tuple({pickle::text("2")}), ")"})),
       ""},
      {"a tensor without arguments", with(rebuild + ")R"), "incomplete"},
      {"a tensor of a number", with(pickle::call(rebuild, {"K\1", "K\1", ")", ")"})), "incomplete"},
      {"a parameter of nothing", with(pickle::call(pickle::global("torch._utils", "_rebuild_parameter"), {})),
       "without a tensor"},
      {"a quantized tensor", with(pickle::call(pickle::global("torch._utils", "_rebuild_qtensor"), {})),
       "_rebuild_qtensor"},
      {"a tensor of an unknown class",
       with(pickle::call(pickle::global("torch._tensor", "_rebuild_from_type_v2"),
                         {pickle::global("posix", "system"), pickle::global("torch", "Tensor"), ")", "N"})),
       "posix.system"},
      {"a complex tensor", with(pickle::tensor(pickle::storage("0", 4, "ComplexFloatStorage"), 0, {4}, {1})),
       "complex"},
      {"an unknown storage", with(pickle::tensor(pickle::storage("0", 8, "OddStorage"), 0, {8}, {1})), "OddStorage"},
      {"a storage of -1 elements", with(pickle::tensor(pickle::storage("0", -1), 0, {8}, {1})), "claims -1"},
      {"a storage of 2^63 - 1 elements", with(pickle::tensor(pickle::storage("0", kBig), 0, {8}, {1})), "claims"},
      {"a storage of 9 elements in 32 bytes", with(pickle::tensor(pickle::storage("0", 9), 0, {9}, {1})), ""},
      {"a storage of 7 elements in 32 bytes", with(pickle::tensor(pickle::storage("0", 7), 0, {7}, {1})), ""},
      {"a storage that is not there", with(pickle::tensor(pickle::storage("../0", 8), 0, {8}, {1})), ""},
      {"a storage in two types",
       pickle::dict({pickle::text("w"), sound(), pickle::text("v"),
                     pickle::tensor(pickle::storage("0", 8, "IntStorage"), 0, {8}, {1})}),
       "in two ways"},
      {"a persistent id that is a text", with(pickle::text("0") + "Q"), "not a storage"},
      {"the view of a storage",
       with(pickle::tuple({pickle::text("storage"), pickle::global("torch", "FloatStorage"), pickle::text("0"),
                           pickle::text("cpu"), pickle::number(8), pickle::numbers({1})}) +
            "Q"),
       "before 0.4"},
  };
  const Scratch scratch;
  for (const auto& [what, value, expected] : cases) {
    spill(scratch / "zip", test::torch_zip(value, kEight));
    spill(scratch / "legacy", test::torch_legacy(value, kEight, 8));
    for (const char* file : {"zip", "legacy"}) {
      const std::string message = message_of<WeightsError>([&] { open_tensors(scratch / file)->verify(); });
      EXPECT_THAT(message, HasSubstr(expected)) << what << ", " << file;
      EXPECT_THAT(message, HasSubstr(scratch / file)) << what;
      EXPECT_THAT(message, Not(HasSubstr("\n"))) << what;
    }
  }
}

// What looks odd and is still sound.
TEST(TorchHostile, ReadsWhatHoldsItself) {
  // {"w": …, "self": itself, "list": [itself]}
  const std::string cyclic = std::string("}q\0(", 4) + pickle::text("w") + sound() + pickle::text("self") +
                             std::string("h\0", 2) + pickle::text("list") + "]q\1h\1a" + "u";
  const Scratch scratch;
  spill(scratch / "zip", test::torch_zip(cyclic, kEight));
  spill(scratch / "legacy", test::torch_legacy(cyclic, kEight, 8));
  for (const char* file : {"zip", "legacy"}) {
    EXPECT_EQ(open_tensors(scratch / file)->read("w").shape, (std::vector<int64_t>{2, 4})) << file;
  }
}

TEST(TorchHostile, RefusesRepetitionsBeyondTheBudget) {
  const Scratch scratch;
  spill(scratch / "a", test::torch_zip(with(pickle::tensor(pickle::storage("0", 8), 0, {1 << 24}, {0})), kEight));
  const auto source = open_tensors(scratch / "a");
  EXPECT_EQ(source->describe("w").numel(), 1 << 24);
  EXPECT_THAT(message_of<WeightsError>([&] { source->read("w"); }), HasSubstr(".contiguous()"));
}

TEST(TorchHostile, RefusesOtherByteOrders) {
  test::ZipWriter zip;
  zip.add("a/data.pkl", pickle::whole(with(sound())));
  zip.add("a/byteorder", "big");
  zip.add("a/data/0", kEight);
  const Scratch scratch;
  spill(scratch / "zip", zip.finish());
  EXPECT_THAT(message_of<WeightsError>([&] { open_tensors(scratch / "zip"); }), HasSubstr("byte order 'big'"));
  std::string legacy = test::torch_legacy(with(sound()), kEight, 8);
  legacy[legacy.find('\x88')] = '\x89';
  spill(scratch / "legacy", legacy);
  EXPECT_THAT(message_of<WeightsError>([&] { open_tensors(scratch / "legacy"); }), HasSubstr("big-endian"));
}

TEST(TorchHostile, RefusesLegacyFilesOfWrongLayout) {
  const std::string sound_file = test::torch_legacy(with(sound()), kEight, 8);
  const Scratch scratch;
  const auto refusal = [&](const std::string& content) {
    spill(scratch / "a", content);
    return message_of<WeightsError>([&] { open_tensors(scratch / "a"); });
  };
  EXPECT_THAT(refusal(pickle::whole("N")), HasSubstr("not one of torch.save"));
  EXPECT_THAT(refusal(sound_file + "x"), HasSubstr("1 bytes follow"));
  EXPECT_THAT(refusal(test::torch_legacy(with(sound()), kEight, 9)), HasSubstr("has 9 elements"));
  EXPECT_THAT(refusal(test::torch_legacy(with(pickle::tensor(pickle::storage("1", 8), 0, {8}, {1})), kEight, 8)),
              HasSubstr("unknown or repeated key '0'"));
  std::string version = sound_file;
  version[version.find("\xe9\x03")] = '\xe8';
  EXPECT_THAT(refusal(version), HasSubstr("version is not 1001"));
}

TEST(TorchHostile, RefusesTwoPickles) {
  test::ZipWriter zip;
  zip.add("a/data.pkl", pickle::whole(with(sound())));
  zip.add("b/data.pkl", pickle::whole(with(sound())));
  const Scratch scratch;
  spill(scratch / "a", zip.finish());
  EXPECT_THAT(message_of<WeightsError>([&] { open_tensors(scratch / "a"); }), HasSubstr("two files data.pkl"));
}

}  // namespace snell::io
