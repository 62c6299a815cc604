// The structs that own the schema against the shipped configs and the documentation.
#include "snell/train/job_config.h"
#include "snell/nn/ignored_settings.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "snell/config/compose.h"
#include "snell/config/settings_table.h"

namespace snell::train {
namespace {

const config::ConfigSearchPath kConfigs{{SNELL_SOURCE_DIR "/configs"}};

std::vector<std::string> shipped(const std::string& group) {
  std::vector<std::string> names = kConfigs.files(group);
  std::erase_if(names, [](const std::string& name) { return name.starts_with("_") || name.find("/_") != name.npos; });
  return names;
}

JobConfig bound(const std::vector<std::string>& overrides) {
  JobConfig job;
  config::bind_section(config::compose(kConfigs, "config", overrides).root, "", job);
  return job;
}

TEST(JobConfig, TakesEveryExperiment) {
  for (const auto& name : shipped("experiment")) {
    JobConfig job;
    EXPECT_NO_THROW(job = bound({"experiment=" + name})) << name;
    EXPECT_FALSE(job.data.file.empty()) << name;
  }
}

TEST(JobConfig, TakesEveryOptionOfItsGroups) {
  for (const char* group : {"backbone", "adapter", "optim", "dist", "checkpoint"}) {
    for (const auto& name : shipped(group)) {
      if (name.starts_with("schedule/")) continue;
      JobConfig job;
      EXPECT_NO_THROW(job = bound({"data=fgvc/cub", std::string(group) + "=" + name})) << group << "=" << name;
      EXPECT_EQ(nn::ignored_settings(job.backbone), std::vector<std::string>{}) << group << "=" << name;
    }
  }
  EXPECT_EQ(bound({"data=fgvc/cub", "optim/schedule=constant"}).optim.schedule.name, "constant");
  EXPECT_EQ(bound({"data=fgvc/cub", "data/transform=vtab"}).data.transform.train, "vtab");
}

// Otherwise `key=value` on the command line would refuse a setting that exists. Settings of one kind of backbone stand
// in the options that are of this kind.
TEST(JobConfig, EverySettingIsInTheComposedConfig) {
  const auto composed = [](const std::vector<std::string>& overrides) {
    return config::compose(kConfigs, "config", overrides).root;
  };
  config::Node vit = composed({"data=mnist5k"}), convnext = composed({"data=mnist5k", "backbone=convnext_tiny"}),
               swin = composed({"data=mnist5k", "backbone=swin_tiny_patch4_window7_224"});
  for (const auto& field : config::describe_section<JobConfig>("")) {
    config::Node& root = field.doc.starts_with("convnext") ? convnext : field.doc.starts_with("swin:") ? swin : vit;
    EXPECT_NE(root.select(field.key), nullptr) << field.key << " is missing in configs/";
  }
}

// The error of a job with this backbone and setting.
std::string message_of(const std::string& backbone, const std::string& setting) {
  try {
    bound({"data=mnist5k", "backbone=" + backbone, setting});
  } catch (const core::ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(JobConfig, ConvNextNeedsAStageForEachNumberAndPixelsForEachStage) {
  EXPECT_NE(message_of("convnext_tiny", "backbone.depths=[1,1]").find("one number a stage"), std::string::npos);
  EXPECT_NE(message_of("convnext_tiny", "backbone.image_size=16").find("at least 32 pixels are needed"),
            std::string::npos);
  EXPECT_EQ(message_of("convnext_tiny", "backbone.image_size=32"), "no error");
}

TEST(JobConfig, SwinTakesAnyNumberOfWholePatches) {
  const std::string swin = "swin_tiny_patch4_window7_224";
  for (const std::string size : {"4", "28", "100", "224", "384"}) {
    EXPECT_EQ(message_of(swin, "backbone.image_size=" + size), "no error");
  }
  EXPECT_NE(message_of(swin, "backbone.image_size=225").find("multiple of patch_size (4); 224 or 228 would do"),
            std::string::npos);
  EXPECT_NE(message_of(swin, "backbone.image_size=3").find("multiple of patch_size (4); 4 would do"),
            std::string::npos);
  EXPECT_NE(message_of(swin, "backbone.depths=[]").find("1 to 8 stages"), std::string::npos);
  EXPECT_NE(message_of(swin, "backbone.num_heads=5").find("must divide embed_dim (96)"), std::string::npos);
}

TEST(JobConfig, VitOptionsThatDoNotFitAreRefused) {
  const std::string vit = "vit_tiny_patch16_224";
  EXPECT_NE(message_of(vit, "backbone.class_token=false").find("must be avg where class_token=false"),
            std::string::npos);
  EXPECT_NE(message_of("vit_giant_patch14_dinov2", "backbone.mlp_ratio=0.0996").find("even number of features"),
            std::string::npos)
      << message_of("vit_giant_patch14_dinov2", "backbone.mlp_ratio=0.0996");
  EXPECT_NE(message_of(vit, "backbone.image_size=230").find("224 or 240 would do"), std::string::npos);
}

// docs/config.md holds the table between two marks. SNELL_UPDATE_DOCS=1 writes it anew.
TEST(JobConfig, TheDocumentationListsEverySetting) {
  const std::string file = SNELL_SOURCE_DIR "/docs/config.md";
  const std::string begin = "<!-- settings: begin -->\n", end = "<!-- settings: end -->";
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  std::string page = text.str();
  const size_t from = page.find(begin), to = page.find(end);
  ASSERT_TRUE(from != page.npos && to != page.npos && from < to);
  const size_t start = from + begin.size();
  const std::string table = config::settings_markdown(config::describe_section<JobConfig>(""));
  if (std::getenv("SNELL_UPDATE_DOCS")) {
    page.replace(start, to - start, table);
    std::ofstream(file) << page;
    return;
  }
  EXPECT_EQ(page.substr(start, to - start), table)
      << "the table is out of date: run this test once with SNELL_UPDATE_DOCS=1";
}

}  // namespace
}  // namespace snell::train
