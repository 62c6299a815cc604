#include "snell/ckpt/trained_file.h"

#include <gmock/gmock.h>

#include "ckpt/support.h"
#include "snell/core/error.h"
#include "snell/io/tensor_source.h"

namespace snell::ckpt {
namespace {

TEST(TrainedFile, RoundTrip) {
  TempFolder folder;
  const std::string path = folder.path() + "/model.safetensors";
  const auto tensors = make_state(4).tensors;
  export_trained(path, tensors, {{"config", "{\"seed\": 3}"}, {"class_names", "[\"a\"]"}});
  const TrainedFile file = import_trained(path);
  std::map<std::string, at::Tensor> by_name;
  for (const TensorRef& ref : file.tensors) by_name[ref.name] = ref.tensor;
  ASSERT_EQ(by_name.size(), tensors.size());
  for (const TensorRef& ref : tensors) expect_equal({{ref.name, by_name[ref.name]}}, {ref});
  EXPECT_EQ(file.metadata,
            (std::map<std::string, std::string>{{"config", "{\"seed\": 3}"}, {"class_names", "[\"a\"]"}}));
}

TEST(TrainedFile, EveryFlippedBitIsFound) {
  TempFolder folder;
  const std::string path = folder.path() + "/model.safetensors";
  const auto tensors = make_state(4).tensors;
  export_trained(path, {tensors[0], tensors[1]}, {{"config", "{}"}});
  std::string bytes = read_all(path);
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; bit += 4) {
      const auto flip = static_cast<char>(1 << ((static_cast<size_t>(bit) + i) % 8));
      bytes[i] = static_cast<char>(bytes[i] ^ flip);
      write_all(path, bytes);
      ASSERT_THROW(import_trained(path), core::WeightsError) << "byte " << i;
      bytes[i] = static_cast<char>(bytes[i] ^ flip);
    }
  }
}

TEST(TrainedFile, AnotherProgramsFileIsRefused) {
  TempFolder folder;
  const std::string path = folder.path() + "/model.safetensors";
  io::write_safetensors(path, {}, {{"format", "pt"}});
  EXPECT_THROW(import_trained(path), core::WeightsError);
}

}  // namespace
}  // namespace snell::ckpt
