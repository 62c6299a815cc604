// Files that Python's torch.save wrote, against what Python's torch.load reads from them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "snell/core/error.h"
#include "snell/io/tensor_source.h"
#include "support/scratch.h"
#include "torch_writer.h"

namespace snell::io {

using core::WeightsError;
using test::message_of;
using test::Scratch;
using test::slurp;
using test::spill;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

static const std::string kWeights = SNELL_SOURCE_DIR "/tests/fixtures/weights/";

// torch_load.json: {file: {"wrapper": key, "tensors": [[name, type, shape, CRC-32], ...]}}
static const nlohmann::json& expected_files() {
  static const nlohmann::json files = nlohmann::json::parse(slurp(kWeights + "torch_load.json"));
  return files;
}

TEST(Torch, ReadsEveryTensorAsPythonDoes) {
  ASSERT_EQ(expected_files().size(), 9u);
  for (const auto& [file, expected] : expected_files().items()) {
    const auto source = open_tensors(kWeights + file);
    EXPECT_STREQ(source->format(), file.find("legacy") == std::string::npos ? "torch (zip)" : "torch (legacy)");
    const std::string wrapper = expected["wrapper"];
    EXPECT_EQ(source->metadata().contains("wrapper") ? source->metadata().at("wrapper") : "", wrapper) << file;
    std::vector<std::string> names;
    for (const auto& row : expected["tensors"]) {
      const std::string name = row[0];
      names.push_back(name);
      const HostTensor tensor = source->read(name);
      EXPECT_EQ(name_of(tensor.dtype), row[1].get<std::string>()) << file << " " << name;
      EXPECT_EQ(tensor.shape, row[2].get<std::vector<int64_t>>()) << file << " " << name;
      EXPECT_EQ(source->describe(name).shape, tensor.shape) << file << " " << name;
      ASSERT_EQ(static_cast<int64_t>(tensor.bytes.size()), byte_count(tensor.dtype, tensor.shape));
      EXPECT_EQ(crc32_z(0, reinterpret_cast<const Bytef*>(tensor.bytes.data()), tensor.bytes.size()),
                row[3].get<uint64_t>())
          << file << " " << name;
    }
    EXPECT_EQ(source->names(), names) << file;
    source->verify();
  }
}

TEST(Torch, TellsWhatElseIsInTheFile) {
  const auto moco = open_tensors(kWeights + "vit_moco.pth.tar");
  EXPECT_EQ(moco->metadata().at("wrapper"), "state_dict");
  EXPECT_EQ(moco->metadata().at("other_keys"), "epoch, arch, best_acc1, optimizer");
  for (const char* file : {"torch_training.pth", "torch_training_legacy.pth"}) {
    const auto training = open_tensors(kWeights + file);
    EXPECT_EQ(training->metadata().at("other_keys"), "epoch, args, best, model_ema, when, optimizer, rng");
    EXPECT_EQ(training->metadata().at("not_tensors"), "not a tensor");
  }
}

TEST(Torch, TensorsOutliveTheirSource) {
  for (const char* file : {"torch_types.pth", "torch_types_legacy.pth"}) {
    const HostTensor tensor = open_tensors(kWeights + file)->read("row");
    float second = 0;
    std::memcpy(&second, tensor.bytes.data() + 4, sizeof second);
    EXPECT_EQ(second, 13.0f);
  }
}

TEST(Torch, RefusesAFileThatAsksToRunSomething) {
  const std::string message = message_of<WeightsError>([] { open_tensors(kWeights + "malicious.pth"); });
  EXPECT_THAT(message, HasSubstr("'posix.system'"));
  EXPECT_THAT(message, HasSubstr("malicious.pth"));
}

namespace pickle = test::pickle;

static std::unique_ptr<TensorSource> opened(const Scratch& scratch, const std::string& value) {
  spill(scratch / "a.pth", test::torch_zip(value, "01234567"));
  return open_tensors(scratch / "a.pth");
}

TEST(Torch, LooksForTheStateDictInTheOrderOfTimm) {
  const Scratch scratch;
  const std::string inner = pickle::dict({pickle::text("w"), pickle::tensor(pickle::storage("0", 2), 0, {2}, {1})});
  const std::vector<std::string> order{"state_dict_ema", "model_ema", "state_dict", "model"};
  std::string items;
  for (size_t i = order.size(); i-- > 0;) {
    items += pickle::text(order[i]) + inner;
    EXPECT_EQ(opened(scratch, "}(" + items + "u")->metadata().at("wrapper"), order[i]);
  }
  // One that holds no tensors is passed over, and a model may have such a name itself.
  EXPECT_EQ(opened(scratch, pickle::dict({pickle::text("model_ema"), "N", pickle::text("model"), inner}))
                ->metadata()
                .at("wrapper"),
            "model");
  const auto plain =
      opened(scratch, pickle::dict({pickle::text("model"), pickle::tensor(pickle::storage("0", 2), 0, {2}, {1})}));
  EXPECT_FALSE(plain->metadata().contains("wrapper"));
  EXPECT_THAT(plain->names(), ElementsAre("model"));
}

TEST(Torch, ReadsOlderAndNewerKindsOfTensors) {
  const Scratch scratch;
  const std::string typed = pickle::storage("0", 2);
  const std::string size = pickle::call(pickle::global("torch", "Size"), {pickle::numbers({2})});
  const std::string attributes = pickle::call(
      pickle::global("torch._tensor", "_rebuild_from_type_v2"),
      {pickle::global("torch._utils", "_rebuild_tensor_v2"), pickle::global("torch.nn.parameter", "Parameter"),
       pickle::tuple({typed, pickle::number(1), pickle::numbers({1}), pickle::numbers({1}), "\x89", "N"}), "}"});
  // Python 2's OrderedDict([[key, value], ...])
  const std::string pairs = "](](" + pickle::text("first") +
                            pickle::call(pickle::global("torch._utils", "_rebuild_tensor"),
                                         {typed, pickle::number(0), size, pickle::numbers({1})}) +
                            "e](" + pickle::text("second") + attributes + "ee";
  const auto old = opened(scratch, pickle::call(pickle::global("collections", "OrderedDict"), {pairs}));
  EXPECT_THAT(old->names(), ElementsAre("first", "second"));
  EXPECT_EQ(old->read("first").shape, (std::vector<int64_t>{2}));
  EXPECT_EQ(old->read("second").bytes[0], std::byte{'4'});
  const auto newer = opened(
      scratch,
      pickle::dict({pickle::text("w"),
                    pickle::call(pickle::global("torch._utils", "_rebuild_tensor_v3"),
                                 {pickle::storage("0", 8, "UntypedStorage"), pickle::number(1), pickle::numbers({3}),
                                  pickle::numbers({1}), "\x89", "N", pickle::global("torch", "int16"), "N"})}));
  EXPECT_EQ(newer->read("w").dtype, DType::kI16);
  EXPECT_EQ(newer->read("w").bytes[0], std::byte{'2'});
}

}  // namespace snell::io
