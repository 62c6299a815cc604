// configs/experiment against the published scripts' numbers (tests/fixtures/recipes.csv).
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>

#include "snell/config/compose.h"
#include "snell/core/error.h"

namespace snell::config {
namespace {

using Row = std::map<std::string, std::string>;

const ConfigSearchPath kConfigs{{SNELL_SOURCE_DIR "/configs"}};

// One line of the file; cells with commas in them are quoted.
std::vector<std::string> cells(const std::string& line) {
  std::vector<std::string> out(1);
  bool in_quotes = false;
  for (char c : line) {
    if (c == '"')
      in_quotes = !in_quotes;
    else if (c == ',' && !in_quotes)
      out.emplace_back();
    else
      out.back() += c;
  }
  return out;
}

std::vector<Row> published_scripts() {
  std::ifstream file(SNELL_SOURCE_DIR "/tests/fixtures/recipes.csv");
  std::string line;
  std::getline(file, line);
  auto header = cells(line);
  std::vector<Row> rows;
  while (std::getline(file, line)) {
    auto values = cells(line);
    EXPECT_EQ(values.size(), header.size()) << line;
    values.resize(header.size());
    Row row;
    for (size_t i = 0; i < header.size(); ++i) row[header[i]] = values[i];
    rows.push_back(row);
  }
  return rows;
}

std::string experiment_of(Row row) {
  static const std::map<std::string, std::string> kFgvcNames = {
      {"stanfordcar", "cars"}, {"stanforddog", "dogs"}, {"oxfordflower", "flowers"}};
  auto renamed = kFgvcNames.find(row["dataset"]);
  std::string name = renamed == kFgvcNames.end() ? row["dataset"] : renamed->second;
  return row["benchmark"] + "/" + row["variant"] + "/" + name;
}

// "10(default)" is 10.
double number_of(const std::string& text) {
  return std::stod(text);
}

TEST(Recipes, EachPublishedScriptHasItsExperimentWithItsNumbers) {
  auto rows = published_scripts();
  ASSERT_EQ(rows.size(), 48u);
  for (auto& row : rows) {
    std::string experiment = experiment_of(row);
    std::vector<std::string> overrides = {"experiment=" + experiment};
    Composed composed = compose(kConfigs, "config", overrides);
    auto number = [&](const std::string& key) { return composed.root.select(key)->number(); };
    auto text = [&](const std::string& key) { return composed.root.select(key)->canonical(); };

    EXPECT_EQ(text("adapter.name"), row["tuning_model"]) << experiment;
    EXPECT_EQ(number("adapter.sparsity"), number_of(row["init_thres"])) << experiment;
    const bool allocates = row["tuning_model"] == "snella";
    EXPECT_EQ(text("adapter.allocator.metric"), allocates ? "ipt" : "none") << experiment;
    if (allocates) {
      EXPECT_EQ(number("adapter.allocator.target_sparsity"), number_of(row["target_ratio"])) << experiment;
      EXPECT_EQ(number("adapter.allocator.warmup_epochs"), number_of(row["init_warmup"])) << experiment;
      EXPECT_EQ(number("adapter.allocator.final_epochs"), number_of(row["final_warmup"])) << experiment;
      EXPECT_EQ(number("adapter.allocator.beta1"), number_of(row["beta1"])) << experiment;
      EXPECT_EQ(number("adapter.allocator.beta2"), number_of(row["beta2"])) << experiment;
      EXPECT_EQ(row["mask_interval"], "1") << experiment;  // epochs between two allocations: the only one there is
    }
    const bool averages = row["model_ema"] == "1";
    EXPECT_EQ(text("optim.ema.enabled"), averages ? "true" : "false") << experiment;
    if (averages) {
      EXPECT_EQ(number("optim.ema.decay"), number_of(row["model_ema_decay"])) << experiment;
    }
    EXPECT_EQ(number("adapter.rank"), number_of(row["low_rank_dim"])) << experiment;
    EXPECT_EQ(number("adapter.dropout"), 0.1) << experiment;
    EXPECT_EQ(number("adapter.drop_path"), 0.1) << experiment;
    EXPECT_EQ(number("backbone.drop_path"), number_of(row["drop_path"])) << experiment;
    EXPECT_EQ(text("backbone.weights"), row["resume"]) << experiment;
    EXPECT_EQ(number("backbone.embed_dim"), 768) << experiment;
    EXPECT_EQ(number("data.batch_size"), number_of(row["batch_size"])) << experiment;
    EXPECT_EQ(text("optim.name"), row["opt"]) << experiment;
    EXPECT_EQ(number("optim.lr"), number_of(row["lr"])) << experiment;
    EXPECT_EQ(number("optim.weight_decay"), number_of(row["weight_decay"])) << experiment;
    EXPECT_EQ(number("optim.label_smoothing"), number_of(row["smoothing"])) << experiment;
    EXPECT_EQ(number("optim.clip_norm"), 0) << experiment;
    EXPECT_EQ(text("optim.schedule.name") + "(default)", row["sched"]) << experiment;
    EXPECT_EQ(number("optim.schedule.warmup_epochs"), number_of(row["warmup_epochs"])) << experiment;
    EXPECT_EQ(number("optim.schedule.warmup_lr"), number_of(row["warmup_lr"])) << experiment;
    EXPECT_EQ(number("optim.schedule.min_lr"), number_of(row["min_lr"])) << experiment;
    EXPECT_EQ(text("optim.schedule.stepping"), "reference") << experiment;
    EXPECT_EQ(number("train.epochs"), number_of(row["epochs"])) << experiment;
    EXPECT_EQ(number("train.eval_interval"), number_of(row["val_interval"])) << experiment;
    EXPECT_EQ(number("train.eval_last"), 10) << experiment;
    EXPECT_EQ(number("seed"), number_of(row["seed"])) << experiment;
    bool augments = row["no_aug"] == "0";
    EXPECT_EQ(text("data.transform.train"), augments ? "fgvc_train" : "vtab") << experiment;
    EXPECT_EQ(text("data.transform.eval"), row["direct_resize"] == "0" ? "fgvc_eval" : "vtab") << experiment;
    EXPECT_EQ(text("data.transform.normalize"), row["inception"] == "0" ? "imagenet" : "inception") << experiment;
    EXPECT_EQ(text("data.train_split"), row["benchmark"] == "fgvc" ? "train" : "train800val200") << experiment;
    EXPECT_EQ(text("data.eval_split"), "test") << experiment;
    EXPECT_TRUE(row["benchmark"] == "fgvc" || text("data.name") == row["dataset"]) << experiment;
  }
}

TEST(Recipes, NoExperimentIsWithoutItsScript) {
  std::set<std::string> published;
  for (auto& row : published_scripts()) published.insert(experiment_of(row));
  for (const auto& name : kConfigs.files("experiment"))
    EXPECT_TRUE(published.contains(name) || name.starts_with("quickstart/") || name == "_recipe") << name;
}

TEST(Configs, EveryOptionOfEveryGroupComposes) {
  size_t count = 0;
  for (const auto& group : kConfigs.groups()) {
    for (const auto& option : kConfigs.files(group)) {
      if (option.starts_with("_") || option.find("/_") != std::string::npos || option.starts_with("transform/") ||
          option.starts_with("schedule/"))
        continue;
      std::vector<std::string> overrides = {group + "=" + option};
      if (group != "data" && group != "experiment") overrides.push_back("data=mnist5k");
      Composed composed = compose(kConfigs, "config", overrides);
      EXPECT_EQ(composed.choices.at(group), option);
      EXPECT_EQ(composed.root.keys().size(), 9u) << group << "=" << option;
      ++count;
    }
  }
  EXPECT_GE(count, 48u + 5 + 19 + 20);
}

TEST(Configs, ThePicturesHaveTheModelsSize) {
  std::vector<std::string> overrides = {"data=fgvc/cub", "backbone=quickstart_vit"};
  EXPECT_EQ(compose(kConfigs, "config", overrides).root.select("data.transform.size")->number(), 28);
}

TEST(Configs, TheirFoldersCanBeElsewhere) {
  setenv("SNELL_DATA", "/mnt/data", 1);
  setenv("SNELL_CHECKPOINTS", "/mnt/weights", 1);
  std::vector<std::string> overrides = {"experiment=vtab/snell32/cifar"};
  Composed composed = compose(kConfigs, "config", overrides);
  unsetenv("SNELL_DATA");
  unsetenv("SNELL_CHECKPOINTS");
  EXPECT_EQ(composed.root.select("data.file")->text(), "/mnt/data/vtab-1k/cifar.h5");
  EXPECT_EQ(composed.root.select("backbone.weights")->text(), "/mnt/weights/ViT-B_16.npz");
}

TEST(Configs, HelpListsGroupsOptionsAndDefaults) {
  std::string help = help_text(kConfigs, "config");
  EXPECT_NE(
      help.find(
          "  adapter (snell32)\n    adapter, full, klora, linear, lora, lora_bias, mixk, snell, snell16, snell32, "
          "snell8, snella\n"),
      std::string::npos);
  EXPECT_NE(help.find("  data (must be chosen)\n    fashion_mnist, imagefolder, mnist5k\n    fgvc/ cars, cub, dogs, "
                      "flowers, nabirds\n"),
            std::string::npos);
  EXPECT_NE(help.find("  optim/schedule (cosine)\n    constant, cosine\n"), std::string::npos);
  EXPECT_NE(help.find("      warmup_epochs: 10\n"), std::string::npos);
  EXPECT_NE(help.find("    dir: ${oc.env:SNELL_RUNS,runs}/${.name}-seed${seed}\n"), std::string::npos);
}

TEST(Configs, AreFoundBesideTheProgramOrInTheSourceTree) {
  unsetenv("SNELL_CONFIG_DIR");
  EXPECT_TRUE(find_configs().find("experiment/fgvc/snell32/cub"));
  EXPECT_FALSE(find_configs().find("../CMakeLists"));
  EXPECT_FALSE(find_configs().find("/etc/passwd"));
  EXPECT_THROW(find_configs("/no/such/folder"), core::ConfigError);
  setenv("SNELL_CONFIG_DIR", SNELL_SOURCE_DIR "/tests/config/hydra/conf", 1);
  ConfigSearchPath path = find_configs();
  unsetenv("SNELL_CONFIG_DIR");
  EXPECT_EQ(path.folders.size(), 2u);
  EXPECT_TRUE(path.find("db/mysql"));
  EXPECT_TRUE(path.find("optim/_base")) << "the shipped configs stay behind one's own";
}

}  // namespace
}  // namespace snell::config
