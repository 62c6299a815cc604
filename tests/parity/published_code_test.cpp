// State dicts of the published SNELL code (its *_model_best.pth): backbone, adapters and head through load_weights.
#include <gtest/gtest.h>

#include "support/model_fixture.h"
#include "support/renamed_source.h"

namespace snell::nn {
namespace {

const LoadOptions kWithHead{true, {}, {}};

peft::TunedModel model_of(const test::Fixture& fixture) {
  const auto adapter = fixture.setting("tuning").get<std::string>();
  return test::make_model(fixture, adapter, fixture.tensor("logits").size(1), at::kDouble);
}

TEST(PublishedCode, WholeModelsLoadWithTheirAdapters) {
  for (const auto& path : test::fixture_files({"model_"})) {
    SCOPED_TRACE(path);
    const test::Fixture fixture(path);
    auto model = model_of(fixture);
    test::RenamedSource file(fixture.source(), "param.");
    const auto report = load_weights(*model.backbone, file, kWithHead);
    EXPECT_EQ(report.count(LoadAction::kLoaded) + report.count(LoadAction::kConverted),
              static_cast<int64_t>(model.backbone->published().size() + model.backbone->adapters().size()));
    const at::Tensor logits = model.backbone->forward(fixture.tensor("images"), core::StepContext{});
    EXPECT_RELATIVE(logits, fixture.tensor("logits"), 1e-9, "logits");
  }
}

TEST(PublishedCode, AFileThatTorchSaved) {
  const test::Fixture fixture(test::fixture_folder() + "/model_vit_snell_t0.9.safetensors");
  auto model = test::make_model(fixture, "snell", 7, at::kFloat);
  // This project's own file: SNELL_FIXTURES need not have it.
  const auto file = io::open_tensors(SNELL_SOURCE_DIR "/tests/fixtures/weights/snell_model_best.pth");
  load_weights(*model.backbone, *file, kWithHead);
  const at::Tensor logits = model.backbone->forward(fixture.tensor("images", at::kFloat), core::StepContext{});
  EXPECT_RELATIVE(logits, fixture.tensor("logits"), 1e-5, "logits");
}

class PublishedVit : public ::testing::Test {
 protected:
  // Loads and returns the error's message, or "loaded".
  std::string load(const LoadOptions& options = kWithHead) {
    try {
      report_ = load_weights(*model_.backbone, file_, options);
      return "loaded";
    } catch (const core::WeightsError& error) {
      return error.what();
    }
  }
  void expect_refused(const std::string& text, const LoadOptions& options = kWithHead) {
    const std::string message = load(options);
    EXPECT_NE(message.find(text), std::string::npos) << message;
  }
  test::Fixture fixture_{test::fixture_folder() + "/model_vit_snell_t0.9.safetensors"};
  test::RenamedSource file_{fixture_.source(), "param."};
  peft::TunedModel model_ = model_of(fixture_);
  LoadReport report_;
};

TEST_F(PublishedVit, WrappersComeOff) {
  file_.prefix_all("_orig_mod.module.");
  EXPECT_EQ(load(), "loaded");
  EXPECT_GT(report_.count(LoadAction::kConverted), 0);
}

TEST_F(PublishedVit, AFactorThatIsMissingIsNamed) {
  file_.rename("blocks.1.attn.additional_v.learnable.Out_Qs", "");
  expect_refused("It lacks: blocks.1.attn.additional_v.learnable.Out_Qs.");
}

TEST_F(PublishedVit, AdaptersWithoutAPlaceAreAnError) {
  peft::AdapterConfig linear;
  linear.name = "linear";
  model_ = peft::make_tuned_model(test::backbone_config(fixture_), linear, 7, 0, {at::kDouble, at::kCPU});
  expect_refused("Choose the adapter, rank and targets that the file was trained with.");
}

TEST_F(PublishedVit, OtherKernelCoefficientsAreAnError) {
  file_.rename("blocks.0.attn.additional_q.learnable.shared_coeff_fc", "");
  file_.add("blocks.0.attn.additional_q.learnable.shared_coeff_fc", "param.blocks.0.norm1.bias");
  expect_refused("must hold 0.1 and -0.1 in turn");
}

TEST_F(PublishedVit, QWithoutKIsAnError) {
  file_.rename("blocks.0.attn.k.weight", "");
  expect_refused("holds only blocks.0.attn.q.weight, blocks.0.attn.v.weight of blocks.0.attn.qkv.weight");
}

TEST_F(PublishedVit, ANameThatIsThereTwiceIsAnError) {
  file_.add("module.norm.weight", "param.norm.bias");
  expect_refused("holds norm.weight twice, under module.norm.weight and norm.weight");
}

TEST_F(PublishedVit, AWholeNumberIsNoWeight) {
  file_.rename("norm.weight", "");
  file_.add("norm.weight", "labels");
  expect_refused("norm.weight is Long");
}

TEST_F(PublishedVit, WhatMayBeMissingOrLeftOverIsAllowedByName) {
  file_.rename("norm.bias", "norm.offset");
  expect_refused("It lacks: norm.bias. It holds what the backbone has not: norm.offset.");
  EXPECT_EQ(load({true, {"norm.*"}, {"*.offset"}}), "loaded");
  EXPECT_EQ(report_.names(LoadAction::kMissing), std::vector<std::string>{"norm.bias"});
  const auto ignored = report_.names(LoadAction::kIgnored);
  EXPECT_EQ(std::count(ignored.begin(), ignored.end(), "norm.offset"), 1);
}

TEST_F(PublishedVit, TheTableCountsLayersOfAKind) {
  ASSERT_EQ(load({}), "loaded");
  const std::string table = report_.table();
  EXPECT_NE(table.find("loaded         2  blocks.*.norm1.weight\n"), std::string::npos) << table;
  EXPECT_NE(table.find("converted      2  blocks.*.attn.qkv.weight  "), std::string::npos) << table;
  EXPECT_NE(table.find("blocks.*.attn.q.weight, blocks.*.attn.k.weight, blocks.*.attn.v.weight\n"), std::string::npos);
  EXPECT_NE(table.find("ignored        1  head.weight  "), std::string::npos) << table;
  EXPECT_NE(report_.text().find(" ignored"), std::string::npos) << report_.text();
}

}  // namespace
}  // namespace snell::nn
