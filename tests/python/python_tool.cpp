// The C++ side of side_by_side_test.py: models by their configs, as `snell` builds them.
//   python_tool logits WEIGHTS INPUT OUTPUT OVERRIDE…   "images" of INPUT through the model of a weight file with its
//   head python_tool exports FOLDER OVERRIDE…                a tuned model with random factors in every export format
//   python_tool layouts OUTPUT                          of every shipped backbone timm's name, and its tensors' shapes
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "snell/ckpt/tensors.h"
#include "snell/config/compose.h"
#include "snell/core/log.h"
#include "snell/io/files.h"
#include "snell/nn/load_weights.h"
#include "snell/train/export.h"
#include "snell/train/model.h"
#include "snell/train/timm_model.h"
#include "support/random_model.h"

namespace snell {
namespace {

using Arguments = std::vector<std::string>;
const std::string kConfigs = SNELL_SOURCE_DIR "/configs";
constexpr int64_t kClasses = 7;

train::JobConfig job_of(const Arguments& overrides) {
  Arguments all{"data=imagefolder", "data.file=none.h5", "backbone.weights="};
  all.insert(all.end(), overrides.begin(), overrides.end());
  train::JobConfig job;
  config::bind_section(config::compose({{kConfigs}}, "config", all).root, "", job);
  return job;
}

void write_tensors(const std::string& path, const nn::Parameters& parameters) {
  std::vector<std::pair<std::string, io::HostTensor>> out;
  for (const auto& [name, tensor] : parameters) out.emplace_back(name, ckpt::host_tensor(tensor));
  io::write_safetensors(path, out);
}

void write_logits(const std::string& weights, const std::string& input, const std::string& output,
                  const Arguments& overrides) {
  train::JobConfig job = job_of(overrides);
  job.adapter.name = "linear";
  job.backbone.weights = weights;
  job.backbone.load_head = true;
  const auto model = train::make_model(job, kClasses, {});
  const at::Tensor images = nn::to_tensor(io::open_tensors(input)->read("images"));
  write_tensors(output, {{"logits", model.backbone->forward(images, {})}});
}

void write_exports(const std::string& folder, const Arguments& overrides) {
  const train::JobConfig job = job_of(overrides);
  const auto model = train::make_model(job, kClasses, {});
  test::randomise(model, 3);
  const int64_t side = job.backbone.image_size;
  const at::Tensor images = at::randn({2, 3, side, side}, at::detail::createCPUGenerator(4), at::kFloat);
  std::filesystem::create_directories(folder);
  write_tensors(folder + "/io.safetensors", {{"images", images}, {"logits", model.backbone->forward(images, {})}});
  // What was fine-tuned from: without the trained head and class token.
  nn::Parameters base = model.backbone->published();
  for (auto& [name, tensor] : base) tensor = tensor.requires_grad() ? at::zeros_like(tensor) : tensor;
  write_tensors(folder + "/base.safetensors", base);

  const train::ExportInput input{job, model, {}, {}};
  const auto write = [&](const std::string& to, const std::string& type, const std::string& name) {
    train::write_export(train::exporters().get(to)(input, type), folder + "/" + name, false);
  };
  write("peft", "auto", "peft");
  write("peft", "snell", "snell");
  if (job.adapter.name == "adapter") return;
  write("timm", "auto", "timm");
  write("delta", "auto", "delta");
}

void write_layouts(const std::string& output) {
  nlohmann::ordered_json all;
  for (const auto& entry : std::filesystem::directory_iterator(kConfigs + "/backbone")) {
    const std::string name = entry.path().stem();
    if (name.starts_with("_")) continue;
    const train::JobConfig job = job_of({"backbone=" + name, "backbone.weights="});
    const train::TimmModel timm = train::timm_model(job.backbone);
    auto& layout = all[name];
    layout = {{"architecture", timm.architecture}, {"arguments", timm.arguments}, {"global_pool", timm.global_pool}};
    const auto backbone = nn::make_backbone(job.backbone, kClasses, nn::LinearFactory(false), {at::kFloat, at::kMeta});
    for (const auto& [tensor_name, tensor] : backbone->published())
      layout["tensors"][tensor_name] = tensor.sizes().vec();
  }
  io::write_file(output, all.dump());
}

int run(const Arguments& arguments) {
  const at::NoGradGuard no_grad;
  const auto from = [&](ptrdiff_t first) { return Arguments(arguments.begin() + first, arguments.end()); };
  if (arguments.size() > 3 && arguments[0] == "logits") {
    write_logits(arguments[1], arguments[2], arguments[3], from(4));
  } else if (arguments.size() > 1 && arguments[0] == "exports") {
    write_exports(arguments[1], from(2));
  } else if (arguments.size() == 2 && arguments[0] == "layouts") {
    write_layouts(arguments[1]);
  } else {
    std::cerr << "usage: python_tool logits|exports|layouts ...\n";
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace snell

int main(int argc, char** argv) {
  snell::core::start_logging("python_tool", {});
  try {
    return snell::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::cerr << "python_tool: " << error.what() << "\n";
    return 1;
  }
}
