// snell predict: classes of single pictures, from files or from a split of the run's data.
#include <iostream>
#include <nlohmann/json.hpp>

#include "app.h"
#include "snell/data/dataset_file.h"
#include "snell/data/decode.h"
#include "snell/data/encode_png.h"
#include "snell/io/files.h"
#include "snell/report/html.h"
#include "snell/report/table.h"
#include "snell/train/trained_model.h"

namespace snell::apps {
namespace {

struct Options {
  std::string run_dir, split, html;
  WhichWeights which;
  std::vector<std::string> images, overrides;
  int64_t count = 8;
  std::optional<int64_t> first;  // absent: samples spread over the split
  bool json = false;
};

struct Picture {
  std::string name;
  data::Sample sample;
  std::optional<int64_t> label;
};

struct Prediction {
  std::string name, label, predicted;
  double percent = 0;
  std::optional<bool> right;
  std::string png;
};

std::vector<Picture> gather(const Options& o, const data::SampleSource& source) {
  std::vector<Picture> out;
  for (const auto& path : o.images) {
    out.push_back(
        {path, {data::Encoding::kFile, 0, 0, io::read_file(path, uint64_t{256} << 20, io::raise_data_error)}, {}});
  }
  if (!out.empty()) return out;
  const int64_t first = o.first.value_or(0), size = source.size();
  if (first >= size)
    throw core::ConfigError(core::str("--first ", first, " lies behind the split's ", size, " samples"));
  const int64_t count = std::min(o.count, size - first);
  const int64_t stride = o.first ? 1 : size / count;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t index = first + i * stride;
    out.push_back({source.name(index), source.read(index), source.label(index)});
  }
  return out;
}

Prediction predict_one(const Picture& picture, const train::TrainedModel& trained, const data::Transform& transform,
                       const std::vector<std::string>& names) {
  const auto name_of = [&](int64_t label) { return names.at(static_cast<size_t>(label)); };
  Prediction out;
  out.name = picture.name;
  out.png = data::encode_png(data::decode(picture.sample, picture.name));
  at::Tensor image = at::empty({1, 3, transform.size(), transform.size()}, at::kFloat);
  transform.apply(data::decode(picture.sample, picture.name), {},
                  {image.mutable_data_ptr<float>(), static_cast<size_t>(image.numel())}, picture.name);
  const at::Tensor shares_K =
      trained.model.backbone->forward(image.to(trained.place.device, trained.place.dtype), {}).softmax(1).flatten();
  const int64_t best = shares_K.argmax().item<int64_t>();
  out.predicted = name_of(best);
  out.percent = 100.0 * shares_K[best].item<double>();
  if (picture.label) {
    out.label = name_of(*picture.label);
    out.right = *picture.label == best;
  }
  return out;
}

void write_page(const std::string& path, const Options& o, const std::vector<Prediction>& predictions) {
  report::ComparisonPage page;
  page.title = "Predictions of " + o.run_dir;
  for (const auto& p : predictions) {
    page.pictures.push_back({p.png, p.predicted + (p.right == false ? " (is " + p.label + ")" : ""), p.right});
  }
  report::write_comparison(path, page);
}

int predict_on(dist::ControlPlane& control, const Options& o) {
  const at::NoGradGuard no_grad;
  const Job job = job_of_run(o.run_dir, o.overrides);
  const auto source = data::open_dataset(job.config.data.file, o.split.empty() ? job.config.data.eval_split : o.split);
  const auto trained =
      train::load_trained(job.config, source->num_classes(), o.which.checkpoint, control, o.which.weights);
  const auto transform = data::make_transform(job.config.data.transform.eval, job.config.data.transform);
  std::vector<Prediction> predictions;
  for (const auto& picture : gather(o, *source)) {
    predictions.push_back(predict_one(picture, trained, *transform, source->class_names()));
  }
  report::Table table({{"picture", "picture"},
                       {"predicted", "predicted"},
                       {"percent", "%", 1},
                       {"label", "label"},
                       {"right", "right"}});
  for (const auto& p : predictions) {
    table.add({p.name, p.predicted, p.percent, p.right ? nlohmann::json(p.label) : nlohmann::json(),
               p.right ? nlohmann::json(*p.right) : nlohmann::json()});
  }
  std::cout << (o.json ? table.json().dump(2) + "\n" : table.text());
  if (!o.html.empty()) write_page(o.html, o, predictions);
  return 0;
}

}  // namespace

void add_predict(CLI::App& app, Action& chosen) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("predict",
                                         "Classes of single pictures.\n"
                                         "Example: snell predict runs/cub bird.jpg another.png --json");
  command->add_option("run", o->run_dir, "the run's folder")->required();
  command->add_option("images", o->images, "picture files; none: samples of a split");
  command->add_option("--split", o->split, "split of the run's data (default: its evaluation split)");
  command->add_option("--count", o->count, "samples of the split")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  command->add_option("--first", o->first, "number of the first sample (default: spread over the split)")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--set", o->overrides, "changes to the run's config (key=value)");
  add_checkpoint_options(*command, o->which);
  command->add_option("--html", o->html, "also write a page with the pictures");
  command->add_flag("--json", o->json, "print the result as JSON");
  command->callback(
      [o, &chosen] { chosen = [o] { return with_mpi([&](auto& control) { return predict_on(control, *o); }); }; });
}

}  // namespace snell::apps
