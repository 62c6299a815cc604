// snell eval: judges a run's checkpoint on a split, over any number of ranks.
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app.h"
#include "snell/data/dataset_file.h"
#include "snell/report/progress.h"
#include "snell/report/table.h"
#include "snell/train/evaluate.h"
#include "snell/train/trained_model.h"

namespace snell::apps {
namespace {

struct Options {
  std::string run_dir;  // or the first override, where a weight file is judged and not a run
  WhichWeights which;
  std::vector<std::string> overrides;
  bool json = false;
  bool judges_a_file() const { return run_dir.find('=') != std::string::npos && !std::filesystem::exists(run_dir); }
};

// Without a run the config is composed as for training, and backbone.weights is what is judged.
Job job_to_judge(const Options& o) {
  if (!o.judges_a_file()) return job_of_run(o.run_dir, o.overrides);
  std::vector<std::string> overrides{o.run_dir};
  overrides.insert(overrides.end(), o.overrides.begin(), o.overrides.end());
  return compose_job("", overrides);
}

int eval_on(dist::ControlPlane& control, const Options& o) {
  Job job;
  std::shared_ptr<const data::SampleSource> source;
  control.all_or_none([&] {
    job = job_to_judge(o);
    source = data::open_dataset(job.config.data.file, job.config.data.eval_split);
  });
  const auto trained = train::load_trained(job.config, source->num_classes(),
                                           o.judges_a_file() ? "none" : o.which.checkpoint, control, o.which.weights);
  const auto loader = train::make_eval_loader(source, job.config.data, control, trained.place.device.is_cuda());
  report::ProgressOptions shown;
  shown.enabled = control.is_root();
  report::Progress progress(shown);
  const auto result =
      train::evaluate(*trained.model.backbone, *loader, control, trained.place, [&](int64_t done, int64_t of) {
        report::ProgressState state;
        state.phase = "eval";
        state.step = done;
        state.steps = of;
        progress.update(state);
      });
  progress.clear();
  if (!control.is_root()) return 0;
  report::Table table({{"checkpoint", "checkpoint"},
                       {"weights", "weights"},
                       {"split", "split"},
                       {"samples", "samples"},
                       {"loss", "loss", 4},
                       {"top1", "top-1 %"},
                       {"top5", "top-5 %"},
                       {"seconds", "seconds"}});
  table.add({trained.checkpoint, o.which.weights, job.config.data.eval_split, result.num_samples, result.loss,
             result.top1, result.top5, result.seconds});
  std::cout << (o.json ? table.json().dump(2) + "\n" : table.text());
  return 0;
}

}  // namespace

void add_eval(CLI::App& app, Action& chosen) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("eval",
                                         "Judge a run on a split of its data.\n"
                                         "Examples: mpirun -np 2 snell eval runs/cifar data.eval_split=val200\n"
                                         "          snell eval experiment=fgvc/snell32/cub "
                                         "backbone.weights=91.5_model_best.pth backbone.load_head=true");
  command
      ->add_option("run", o->run_dir,
                   "the run's folder; without one, settings as for training: backbone.weights is judged")
      ->required();
  command->add_option("overrides", o->overrides, "changes to the config");
  add_checkpoint_options(*command, o->which);
  command->add_flag("--json", o->json, "print the result as JSON");
  command->callback(
      [o, &chosen] { chosen = [o] { return with_mpi([&](auto& control) { return eval_on(control, *o); }); }; });
}

}  // namespace snell::apps
