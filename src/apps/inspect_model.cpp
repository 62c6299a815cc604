// snell inspect --model: what a config's model consists of.
#include <filesystem>

#include "app.h"
#include "inspect.h"
#include "snell/core/text.h"
#include "snell/data/dataset_file.h"
#include "snell/report/table.h"
#include "snell/train/footprint.h"

namespace snell::apps {

using core::str;

static constexpr int64_t kClassesOfImageNet = 1000;

static int64_t classes_of(const std::string& data_file) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(data_file, ignored)) return kClassesOfImageNet;
  return static_cast<int64_t>(data::describe_dataset(data_file).class_names.size());
}

// A config must choose its data, which a model does not need.
static Job compose_model(std::vector<std::string> overrides, const std::string& config_dir) {
  const bool has_data = std::any_of(overrides.begin(), overrides.end(), [](const std::string& text) {
    return text.starts_with("data=") || text.starts_with("experiment=") || text.starts_with("+experiment=");
  });
  if (!has_data) overrides.insert(overrides.begin(), {"data=imagefolder", "data.file=none"});
  return compose_job(config_dir, overrides);
}

static std::string summary_text(const train::LayerFootprint& total, const train::JobConfig& config, int64_t classes) {
  const auto bytes = [](int64_t n) { return core::human_bytes(static_cast<double>(n)); };
  return str("\nmodel         ", config.backbone.name, ", ", config.backbone.image_size, " pixels, ", classes,
             " classes\nadapter       ", config.adapter.name, ", ", report::with_separators(total.adapter),
             " parameters\ntrainable     ", report::with_separators(total.trainable), " of ",
             report::with_separators(total.trainable + total.frozen), " parameters\nmemory        ",
             bytes(total.weight_bytes + total.gradient_bytes + total.state_bytes), " a rank: weights ",
             bytes(total.weight_bytes), ", gradients ", bytes(total.gradient_bytes), ", optimizer ",
             bytes(total.state_bytes), "; activations come on top\n");
}

Findings inspect_model(std::vector<std::string> overrides, const std::string& config_dir,
                       std::optional<int64_t> classes) {
  const Job job = compose_model(std::move(overrides), config_dir);
  const int64_t num_classes = classes ? *classes : classes_of(job.config.data.file);
  std::vector<train::LayerFootprint> layers = train::footprint(job.config, num_classes);
  train::LayerFootprint total;
  total.name = "total";
  for (const auto& layer : layers) total += layer;
  layers.push_back(total);
  report::Table table({{"layer", "layer"},
                       {"frozen", "frozen"},
                       {"trainable", "trainable"},
                       {"adapter", "of an adapter"},
                       {"weight_bytes", "weights, bytes"},
                       {"gradient_bytes", "gradients, bytes"},
                       {"state_bytes", "optimizer, bytes"}});
  for (const auto& l : layers) {
    table.add({l.name, l.frozen, l.trainable, l.adapter, l.weight_bytes, l.gradient_bytes, l.state_bytes});
  }
  Findings result;
  result.text = table.text() + summary_text(total, job.config, num_classes);
  result.json = {{"backbone", job.config.backbone.name},
                 {"adapter", job.config.adapter.name},
                 {"classes", num_classes},
                 {"layers", table.json()}};
  return result;
}

}  // namespace snell::apps
