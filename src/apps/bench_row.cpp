// One process of `snell bench step`.
#include <unistd.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "bench.h"
#include "snell/io/files.h"
#include "snell/train/bench_step.h"

namespace snell::apps {
namespace {

using nlohmann::ordered_json;

// Standard output carries answers only: whatever else is printed goes where errors go.
class Answers {
 public:
  Answers() : file_(::dup(STDOUT_FILENO)) {
    core::check(file_.get() >= 0 && ::dup2(STDERR_FILENO, STDOUT_FILENO) >= 0, "standard output cannot be moved");
  }
  // False: nobody listens any more.
  bool say(const ordered_json& answer) const {
    const std::string line = answer.dump() + "\n";
    return ::write(file_.get(), line.data(), line.size()) == static_cast<ssize_t>(line.size());
  }

 private:
  io::FileDescriptor file_;
};

template <class T>
ordered_json or_null(const std::optional<T>& value) {
  return value ? ordered_json(*value) : ordered_json();
}

}  // namespace

int run_bench_row(const Job& job, int64_t num_classes) {
  const Answers answers;
  train::BenchStep step(job.config, num_classes);
  const auto& facts = step.facts();
  bool heard = answers.say({{"device", facts.device},
                            {"threads", facts.threads},
                            {"parameters", facts.parameters},
                            {"trainable", facts.trainable_elements},
                            {"model_bytes", or_null(facts.model_bytes)}});
  std::string request;
  while (heard && std::getline(std::cin, request) && request == kStepRequest) {
    const train::StepStats stats = step.run();
    heard = answers.say({{"seconds", stats.seconds},
                         {"loss", stats.loss},
                         {"finite", stats.finite},
                         {"peak_bytes", or_null(step.peak_above_model())}});
  }
  return 0;
}

}  // namespace snell::apps
