// Exports: merged models give the unmerged ones' logits, and each format holds what it says.
#include "snell/train/export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "snell/config/compose.h"
#include "snell/peft/merge.h"
#include "snell/train/model.h"
#include "snell/train/timm_model.h"
#include "support/fixtures.h"
#include "support/random_model.h"
#include "support/scratch.h"

namespace snell::train {
namespace {

constexpr int64_t kClasses = 5;
const std::vector<std::string> kBackbones{"vit", "convnext", "swin"};
const std::vector<std::string> kMatrices{"klora", "mixk", "snell", "snella", "lora", "lora_bias"};

struct Case {
  JobConfig job;
  peft::TunedModel model;
  at::Tensor images, logits;
  ExportInput input() const { return {job, model, {"a", "b", "c", "d", "e"}, {{"version", "test"}}}; }
};

JobConfig job_for(const std::string& backbone, const std::string& adapter) {
  JobConfig job;
  job.backbone = test::small_backbone(backbone);
  job.data.transform.size = job.backbone.image_size;
  job.adapter.name = adapter;
  job.adapter.rank = 8;
  job.adapter.sparsity = adapter.starts_with("snell") ? 0.7 : 0;
  return job;
}

Case make_case(const JobConfig& job, at::ScalarType dtype = at::kFloat) {
  const at::NoGradGuard no_grad;
  Case out{job, make_model(job, kClasses, {dtype, at::kCPU}), {}, {}};
  test::randomise(out.model, 3);
  const int64_t side = job.backbone.image_size;
  out.images = at::randn({2, 3, side, side}, at::detail::createCPUGenerator(4), at::TensorOptions().dtype(dtype));
  out.logits = out.model.backbone->forward(out.images, {});
  return out;
}

Case make_case(const std::string& backbone, const std::string& adapter, at::ScalarType dtype = at::kFloat) {
  return make_case(job_for(backbone, adapter), dtype);
}

at::Tensor tensor_of(const ExportFolder& folder, const std::string& name) {
  for (const auto& ref : folder.tensors) {
    if (ref.name == name) return ref.tensor;
  }
  ADD_FAILURE() << "no tensor " << name;
  return at::zeros({1});
}

bool holds(const ExportFolder& folder, const std::string& name) {
  return std::ranges::any_of(folder.tensors, [&](const auto& ref) { return ref.name == name; });
}

// The model of a weight file with its head, as `--checkpoint none` builds it.
at::Tensor logits_of_file(JobConfig job, const std::string& file, const at::Tensor& images) {
  const at::NoGradGuard no_grad;
  job.adapter.name = "linear";
  job.backbone.weights = file;
  job.backbone.load_head = true;
  return make_model(job, kClasses, {images.scalar_type(), at::kCPU}).backbone->forward(images, {});
}

TEST(Export, MergedModelsGiveTheSameLogits) {
  const test::Scratch scratch;
  std::vector<std::pair<std::string, std::string>> methods;
  for (const auto& name : kMatrices) methods.emplace_back(name, "hard_threshold");
  for (const auto& name : {"snell", "snella"}) methods.emplace_back(name, "soft_threshold");
  for (const auto& name : {"linear", "full"}) methods.emplace_back(name, "hard_threshold");
  for (const auto& backbone : kBackbones) {
    for (const auto& [method, sparsifier] : methods) {
      for (const auto dtype : {at::kFloat, at::kDouble}) {
        SCOPED_TRACE(core::str(backbone, " ", method, " ", sparsifier, " ", c10::toString(dtype)));
        JobConfig job = job_for(backbone, method);
        job.adapter.sparsifier = sparsifier;
        const Case c = make_case(job, dtype);
        const std::string folder =
            scratch / core::str(backbone, "-", method, "-", sparsifier, "-", c10::toString(dtype));
        write_export(export_timm(c.input(), "auto"), folder, false);
        const at::Tensor merged = logits_of_file(c.job, folder + "/model.safetensors", c.images);
        EXPECT_RELATIVE(merged, c.logits, dtype == at::kFloat ? 1e-5 : 1e-13, "logits");
      }
    }
  }
}

TEST(Export, AdaptersThatAreRandomisedChangeTheLogits) {
  for (const auto& backbone : kBackbones) {
    for (const auto& method : kMatrices) {
      SCOPED_TRACE(backbone + " " + method);
      const at::NoGradGuard no_grad;
      const Case c = make_case(backbone, method);
      JobConfig job = c.job;
      job.adapter.name = "linear";
      const auto plain = make_model(job, kClasses, {});
      test::randomise(plain, 3);
      EXPECT_GT(test::relative_error(plain.backbone->forward(c.images, {}), c.logits), 1e-3);
    }
  }
}

TEST(Export, BottleneckCannotBeMerged) {
  const Case c = make_case("vit", "adapter");
  for (const auto& to : {"timm", "delta"}) {
    EXPECT_THAT(test::message_of<core::ConfigError>([&] { exporters().get(to)(c.input(), "auto"); }),
                testing::HasSubstr("blocks.0.attn.qkv is a small network and no matrix"));
  }
  EXPECT_THAT(export_peft(c.input(), "auto").note, testing::HasSubstr("peft_type SNELL"));
  EXPECT_TRUE(holds(export_factors(c.input(), "auto"), "blocks.0.attn.additional_q.learnable.0.weight"));
}

TEST(Export, RefusesNumbersThatAreNotFinite) {
  const test::Scratch scratch;
  const Case c = make_case("vit", "lora");
  c.model.branches[1].branch->factors()[0].tensor.detach()[0][0] = std::numeric_limits<float>::infinity();
  const std::string folder = scratch / "out";
  const auto call = [&](const char* to) { write_export(exporters().get(to)(c.input(), "auto"), folder, false); };
  EXPECT_THAT(test::message_of<core::WeightsError>([&] { call("timm"); }),
              testing::AllOf(testing::HasSubstr("'blocks.0.attn.qkv.weight'"), testing::HasSubstr("not finite")));
  EXPECT_THAT(test::message_of<core::WeightsError>([&] { call("delta"); }),
              testing::HasSubstr("'blocks.0.attn.qkv.values'"));
  EXPECT_FALSE(std::filesystem::exists(folder));
}

TEST(Export, OverwritesOnlyWhenTold) {
  const test::Scratch scratch;
  const Case c = make_case("vit", "snell");
  const auto contents = export_timm(c.input(), "auto");
  const auto files = write_export(contents, scratch / "out", false);
  EXPECT_EQ(files.size(), 2U);
  test::spill(files[0], "mine");
  EXPECT_THAT(test::message_of<core::ConfigError>([&] { write_export(contents, scratch / "out", false); }),
              testing::HasSubstr("is there already"));
  EXPECT_EQ(test::slurp(files[0]), "mine");
  write_export(contents, scratch / "out", true);
  EXPECT_NE(test::slurp(files[0]), "mine");
}

TEST(Export, TimmConfig) {
  const Case c = make_case("vit", "snell");
  const auto config = nlohmann::json::parse(export_timm(c.input(), "auto").config);
  EXPECT_EQ(config.at("num_classes"), kClasses);
  EXPECT_EQ(config.at("num_features"), 48);
  EXPECT_EQ(config.at("global_pool"), "token");
  EXPECT_EQ(config.at("label_names").size(), 5U);
  EXPECT_EQ(config.at("model_args").at("img_size"), 32);
  EXPECT_EQ(config.at("model_args").at("embed_dim"), 48);
  const auto& pretrained = config.at("pretrained_cfg");
  EXPECT_EQ(pretrained.at("input_size"), nlohmann::json({3, 32, 32}));
  EXPECT_EQ(pretrained.at("classifier"), "head");
  EXPECT_EQ(pretrained.at("interpolation"), "bilinear");  // fgvc_eval
  EXPECT_EQ(pretrained.at("mean"), nlohmann::json({0.485, 0.456, 0.406}));
  EXPECT_THAT(test::message_of<core::ConfigError>([&] { export_timm(c.input(), "shira"); }),
              testing::HasSubstr("type=shira means nothing to to=timm"));
}

// A config is called as timm calls the model; of other sizes the arguments tell.
TEST(Export, EveryBackboneConfigHasItsTimmModel) {
  const std::string folder = SNELL_SOURCE_DIR "/configs/backbone";
  // Called after the weights that they load.
  const std::map<std::string, std::string> published{
      {"vit_base_patch16_224_in21k", "vit_base_patch16_224"},
      {"vit_base_patch16_224_mae", "vit_base_patch16_224"},
      {"vit_base_patch16_224_mocov3", "vit_base_patch16_224"},
      {"swin_base_patch4_window7_224_22k", "swin_base_patch4_window7_224"},
      {"convnext_base_22k_224", "convnext_base"}};
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().stem();
    if (name.starts_with("_")) continue;
    SCOPED_TRACE(name);
    const std::vector<std::string> overrides{"data=imagefolder", "data.file=x.h5", "backbone=" + name};
    const auto composed = config::compose({{SNELL_SOURCE_DIR "/configs"}}, "config", overrides);
    JobConfig job;
    config::bind_section(composed.root, "", job);
    const TimmModel model = timm_model(job.backbone);
    ++found;
    if (name == "quickstart_vit") {
      EXPECT_EQ(model.arguments.size(), 4U) << model.arguments;
      continue;
    }
    EXPECT_EQ(model.architecture, published.contains(name) ? published.at(name) : name);
    EXPECT_TRUE(model.arguments.empty()) << model.arguments;
  }
  EXPECT_GE(found, 30);
}

// timm resizes the shorter side to floor(size / crop_pct).
TEST(Export, CropShareGivesTheResize) {
  for (int64_t size = 1; size <= 1024; ++size) {
    data::TransformConfig config;
    config.size = size;
    const double crop_pct = data::describe_eval(config).crop_pct;
    EXPECT_EQ(std::floor(static_cast<double>(size) / crop_pct), static_cast<double>(size * 256 / 224)) << size;
  }
}

TEST(Export, WhatTimmCannotBuildIsRefused) {
  nn::BackboneConfig config = test::small_backbone("convnext");
  config.unbiased_norm = true;
  EXPECT_THAT(test::message_of<core::ConfigError>([&] { timm_model(config); }), testing::HasSubstr("unbiased_norm"));
  config = test::small_backbone("vit");
  config.mlp = "swiglu";  // only of the giant DINOv2: its other arguments are written
  EXPECT_EQ(timm_model(config).architecture, "vit_giant_patch14_dinov2");
  config.representation_size = 8;
  EXPECT_THAT(test::message_of<core::ConfigError>([&] { timm_model(config); }),
              testing::HasSubstr("representation_size"));
  config = test::small_backbone("vit");
  config.layer_norm_eps = 1e-5;
  EXPECT_THAT(test::message_of<core::ConfigError>([&] { timm_model(config); }), testing::HasSubstr("layer_norm_eps"));
}

TEST(Export, ShiraHoldsTheSparseMatrix) {
  const Case c = make_case("vit", "snell");
  const auto folder = export_peft(c.input(), "auto");
  const auto config = nlohmann::json::parse(folder.config);
  EXPECT_EQ(config.at("peft_type"), "SHIRA");
  EXPECT_EQ(config.at("modules_to_save"), nlohmann::json::array({"head"}));
  const int64_t rank = config.at("r");
  for (const auto& layer : c.model.layers) {
    SCOPED_TRACE(layer.name);
    const at::Tensor dense_OI = peft::delta_of(c.model, layer).weight_OI;
    const at::Tensor weight_N = tensor_of(folder, "base_model.model." + layer.name + ".shira_weight");
    const at::Tensor indices_2N = tensor_of(folder, "base_model.model." + layer.name + ".shira_indices");
    EXPECT_EQ(indices_2N.scalar_type(), at::kInt);
    ASSERT_EQ(weight_N.numel(), rank * (dense_OI.size(0) + dense_OI.size(1)));
    const at::Tensor rebuilt = at::sparse_coo_tensor(indices_2N.to(at::kLong), weight_N, dense_OI.sizes()).to_dense();
    EXPECT_TRUE(rebuilt.equal(dense_OI));
  }
  EXPECT_TRUE(holds(folder, "base_model.model.head.weight"));
  EXPECT_TRUE(holds(folder, "base_model.model.cls_token"));
}

TEST(Export, PeftSavesTheModulesOfAComposedHead) {
  const auto config = nlohmann::json::parse(export_peft(make_case("convnext", "lora").input(), "auto").config);
  EXPECT_EQ(config.at("modules_to_save"), nlohmann::json::array({"head.norm", "head.fc"}));
}

TEST(Export, PeftTypes) {
  const auto type_of = [](const ExportFolder& folder) { return nlohmann::json::parse(folder.config).at("peft_type"); };
  const Case dense = make_case("vit", "klora"), lora = make_case("vit", "lora"), linear = make_case("vit", "linear");
  const auto chosen = export_peft(dense.input(), "auto");
  EXPECT_EQ(type_of(chosen), "SNELL");
  EXPECT_THAT(chosen.note, testing::HasSubstr("SHIRA keeps"));
  EXPECT_EQ(nlohmann::json::parse(chosen.config).at("thresholds").at("blocks.0.attn.q"), 0.0);
  EXPECT_TRUE(holds(chosen, "base_model.model.blocks.0.attn.additional_q.learnable.In_Qs"));
  EXPECT_THROW(export_peft(dense.input(), "shira"), core::ConfigError);
  EXPECT_THROW(export_peft(dense.input(), "lora"), core::ConfigError);
  EXPECT_THROW(export_peft(dense.input(), "dora"), core::ConfigError);
  EXPECT_EQ(type_of(export_peft(lora.input(), "auto")), "LORA");
  EXPECT_THROW(export_peft(lora.input(), "shira"), core::ConfigError);
  EXPECT_EQ(type_of(export_peft(lora.input(), "snell")), "SNELL");
  EXPECT_THAT(test::message_of<core::ConfigError>([&] { export_peft(linear.input(), "auto"); }),
              testing::HasSubstr("adapter.name=linear"));
}

TEST(Export, LoraOfFusedSlicesIsExact) {
  JobConfig job = job_for("vit", "lora_bias");
  job.adapter.targets = {"q", "v", "fc1"};
  const Case c = make_case(job, at::kFloat);
  const auto folder = export_peft(c.input(), "auto");
  const auto config = nlohmann::json::parse(folder.config);
  EXPECT_EQ(config.at("rank_pattern").at("blocks.0.attn.qkv"), 16);
  EXPECT_EQ(config.at("lora_bias"), true);
  for (const auto& layer : c.model.layers) {
    SCOPED_TRACE(layer.name);
    const auto delta = peft::delta_of(c.model, layer);
    const std::string name = "base_model.model." + layer.name + ".lora_";
    EXPECT_RELATIVE(tensor_of(folder, name + "B.weight").mm(tensor_of(folder, name + "A.weight")), delta.weight_OI,
                    1e-6, "weight");
    EXPECT_TRUE(tensor_of(folder, name + "B.bias").equal(delta.bias_O));
  }
}

TEST(Export, DeltaRebuildsTheMergedModel) {
  for (const auto& backbone : kBackbones) {
    const Case c = make_case(backbone, "snella");
    const auto folder = export_delta(c.input(), "auto");
    const auto layers = nlohmann::json::parse(folder.metadata.at("layers"));
    const auto merged = peft::merged_parameters(c.model);
    const auto plain = c.model.backbone->published();
    for (size_t i = 0; i < plain.size(); ++i) {
      const std::string layer = plain[i].name.substr(0, plain[i].name.rfind('.'));
      if (!layers.contains(layer) || !plain[i].name.ends_with(".weight")) continue;
      SCOPED_TRACE(plain[i].name);
      EXPECT_EQ(layers.at(layer).at("shape"), nlohmann::json(plain[i].tensor.sizes().vec()));
      at::Tensor rebuilt = plain[i].tensor.detach().clone();
      const at::Tensor where_2N = tensor_of(folder, layer + ".indices").to(at::kLong);
      EXPECT_NEAR(static_cast<double>(where_2N.size(1)) / static_cast<double>(rebuilt.numel()), 0.3, 0.02);
      rebuilt.index_put_({where_2N[0], where_2N[1]}, tensor_of(folder, layer + ".values"), /*accumulate=*/true);
      EXPECT_TRUE(rebuilt.equal(merged[i].tensor));
    }
    EXPECT_TRUE(holds(folder, c.model.backbone->head_name() + ".weight"));
  }
}

TEST(Export, FactorsAndThresholds) {
  const Case c = make_case("vit", "snell");
  const auto folder = export_factors(c.input(), "auto");
  EXPECT_EQ(tensor_of(folder, "thresholds/blocks.1.mlp.fc2").item<double>(), 0.7);
  EXPECT_TRUE(tensor_of(folder, "blocks.1.mlp.additional_fc2.learnable.Out_Qs")
                  .equal(c.model.branches.back().branch->factors()[1].tensor));
  EXPECT_TRUE(tensor_of(folder, "head.weight").equal(c.model.backbone->head_weight()));
  EXPECT_TRUE(holds(folder, "cls_token"));
}

}  // namespace
}  // namespace snell::train
