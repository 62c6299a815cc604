#include "snell/data/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snell/config/binder.h"
#include "snell/config/loader.h"
#include "snell/config/node.h"
#include "snell/core/error.h"

namespace snell::data {
namespace {

DataConfig read(const std::string& yaml) {
  DataConfig config;
  config::bind_section(config::parse_yaml(yaml, "data.yaml"), "data", config);
  return config;
}

std::string error_of(const std::string& yaml) {
  try {
    read(yaml);
  } catch (const core::ConfigError& error) {
    return error.what();
  }
  return "(none)";
}

}  // namespace

TEST(DataConfig, DefaultsAndValues) {
  const DataConfig defaults = read("{}");
  EXPECT_EQ(defaults.transform.train, "fgvc_train");
  EXPECT_EQ(defaults.eval_batch_size, 64);
  const DataConfig config = read(R"(
name: digits
file: digits.h5
train_split: train800
eval_split: val200
batch_size: 64
workers: 0
transform: {train: small_train, eval: none, size: 28, normalize: custom, mean: [0.2, 0.2, 0.2], std: [0.3, 0.3, 0.3], flip: 0}
)");
  EXPECT_EQ(config.file, "digits.h5");
  EXPECT_EQ(config.batch_size, 64);
  EXPECT_EQ(config.workers, 0);
  EXPECT_EQ(config.transform.flip, 0);
  EXPECT_NO_THROW(make_transform(config.transform.train, config.transform));
}

TEST(DataConfig, ErrorsNameTheKey) {
  using ::testing::AllOf;
  using ::testing::HasSubstr;
  EXPECT_THAT(error_of("batchsize: 3"), AllOf(HasSubstr("batchsize"), HasSubstr("batch_size")));
  EXPECT_THAT(error_of("batch_size: 0"), HasSubstr("data.batch_size"));
  EXPECT_THAT(error_of("transform: {train: fgvc_trian}"),
              AllOf(HasSubstr("data.transform.train"), HasSubstr("fgvc_train")));
  EXPECT_THAT(error_of("transform: {normalize: custom, mean: [0.5], std: [0.5]}"), HasSubstr("data.transform.mean"));
  EXPECT_THAT(error_of("transform: {mean: [0.5, 0.5, 0.5]}"), HasSubstr("data.transform.mean"));
  EXPECT_THAT(error_of("transform: {crop_scale: [0.9, 0.1]}"), HasSubstr("data.transform.crop_scale"));
  EXPECT_THAT(error_of("transform: {flip: 1.5}"), HasSubstr("data.transform.flip"));
}

}  // namespace snell::data
