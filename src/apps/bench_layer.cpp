// snell bench layer and growth: ΔW of one layer, forward and backward, and how their time grows with its size.
#include <ATen/Parallel.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>

#include "bench.h"
#include "snell/core/timer.h"
#include "snell/core/version.h"
#include "snell/dist/config.h"
#include "snell/io/files.h"
#include "snell/peft/branch.h"
#include "snell/peft/tuning.h"
#include "snell/report/chart.h"
#include "snell/report/table.h"
#include "snell/train/bench_step.h"
#include "snell/train/peak_memory.h"
#include "snell/train/threads.h"

namespace snell::apps {
namespace {

using core::str;
using nlohmann::ordered_json;

// What both benchmarks are told.
struct Method {
  std::string adapter = "snell", sparsifier = "hard_threshold", dtype = "float32", device = "auto";
  int64_t rank = 32, heads = 2, threads = 0;
  double sparsity = 0.9, norm_p = 2;
};

void bind_method(config::Binder& b, Method& m) {
  b.field("adapter", m.adapter, "whose ΔW", config::one_of({"klora", "mixk", "snell", "snella"}));
  b.field("rank", m.rank, "columns of each factor over all heads", config::in_range(1, 65536));
  b.field("heads", m.heads, "kernel heads", config::in_range(1, 1024));
  b.field("norm_p", m.norm_p, "p of the kernel's distance", config::positive());
  b.field("sparsity", m.sparsity, "share of ΔW's entries that is zeroed", config::fraction());
  b.field("sparsifier", m.sparsifier, "snell, snella", config::one_of({"hard_threshold", "soft_threshold"}));
  b.field("dtype", m.dtype, "of the frozen weight", config::one_of({"float32", "bfloat16", "float16", "float64"}));
  b.field("device", m.device, "where", config::one_of({"auto", "cpu", "cuda"}));
  b.field("threads", m.threads, "LibTorch's; 0: OMP_NUM_THREADS, else all cores", config::in_range(0, 4096));
  b.require(m.rank % m.heads == 0, "rank", str("must be a multiple of heads (", m.heads, ")"));
}

struct LayerSettings {
  Method method;
  int64_t in = 768, out = 3072, repeats = 30, warmup = 3;
};

void bind(config::Binder& b, LayerSettings& s) {
  b.field("in", s.in, "input features", config::in_range(1, 1 << 20));
  b.field("out", s.out, "output features", config::in_range(1, 1 << 20));
  bind_method(b, s.method);
  b.field("repeats", s.repeats, "passes that count", config::in_range(1, 1e6));
  b.field("warmup", s.warmup, "passes before them", config::in_range(0, 1e6));
}

struct GrowthSettings {
  Method method;
  std::vector<std::string> sizes{"768x768",   "768x3072",   "1024x4096", "1536x6144",
                                 "2048x8192", "3072x12288", "4096x16384"};
  int64_t repeats = 5, warmup = 1;
};

void bind(config::Binder& b, GrowthSettings& s) {
  b.field("sizes", s.sizes, "layers, INxOUT each");
  bind_method(b, s.method);
  b.field("repeats", s.repeats, "passes of each size that count", config::in_range(1, 1e6));
  b.field("warmup", s.warmup, "passes of each size before them", config::in_range(0, 1e6));
  b.require(!s.sizes.empty(), "sizes", "names no layer");
}

struct Passes {
  std::function<void()> forward, backward;
};

// The one place that knows how a layer's W0 + ΔWᵀ [O, I] is made, and how made again to get the factors' gradients.
Passes passes_of(const Method& m, int64_t in, int64_t out, const nn::TensorPlace& place) {
  peft::AdapterConfig config;
  config.name = m.adapter;
  config.rank = m.rank;
  config.heads = m.heads;
  config.norm_p = m.norm_p;
  config.sparsity = m.adapter == "snell" || m.adapter == "snella" ? m.sparsity : 0;
  config.sparsifier = m.sparsifier;
  const std::shared_ptr<peft::Branch> branch = peft::adapters().get(m.adapter)("layer", in, out, config, place);
  branch->init(/*seed=*/0);
  const auto& delta = dynamic_cast<const peft::DeltaBranch&>(*branch).delta();
  const auto kept = std::make_shared<at::Tensor>();
  const at::Tensor frozen_OI = at::randn({out, in}, place.options()), weight_OI = at::empty_like(frozen_OI);
  const at::Tensor grad_OI = at::randn({out, in}, place.trainable_options());
  return {[=, &delta] { *kept = delta.merge_into(weight_OI, frozen_OI, {}); },
          [=, &delta] {
            branch->factors();  // keeps the branch, which `delta` is part of
            delta.merge_into(weight_OI, frozen_OI, *kept);
            delta.factor_grads(grad_OI, *kept);
          }};
}

struct Measured {
  std::string device;
  int64_t in, out;
  std::vector<double> forward, backward;  // seconds of each pass
  std::optional<int64_t> peak_bytes;      // of both passes, above the factors and dL/dΔW
};

Measured measure(const Method& m, int64_t in, int64_t out, int64_t repeats, int64_t warmup) {
  train::RunConfig run;
  run.dtype = m.dtype;
  dist::SelfControlPlane control;
  const nn::TensorPlace place{train::compute_dtype(run), dist::choose_device(m.device, control)};
  const Passes passes = passes_of(m, in, out, place);
  const train::PeakMemory memory(place.device);
  const auto seconds_of = [&](const std::function<void()>& pass) {
    const core::Timer timer;
    pass();
    train::wait_for(place.device);
    return timer.seconds();
  };
  Measured result{place.device.str(), in, out, {}, {}, {}};
  for (int64_t i = -warmup; i < repeats; ++i) {
    const double forward = seconds_of(passes.forward), backward = seconds_of(passes.backward);
    if (i < 0) continue;
    result.forward.push_back(forward);
    result.backward.push_back(backward);
  }
  result.peak_bytes = memory.above();
  return result;
}

ordered_json json_of(const Measured& m) {
  const auto entries = static_cast<double>(m.in * m.out);
  return {{"in", m.in},
          {"out", m.out},
          {"entries", m.in * m.out},
          {"forward_seconds", median(m.forward)},
          {"forward_seconds_min", std::ranges::min(m.forward)},
          {"forward_ns_per_entry", median(m.forward) * 1e9 / entries},
          {"backward_seconds", median(m.backward)},
          {"backward_seconds_min", std::ranges::min(m.backward)},
          {"backward_ns_per_entry", median(m.backward) * 1e9 / entries},
          {"peak_bytes", m.peak_bytes ? ordered_json(*m.peak_bytes) : ordered_json()}};
}

ordered_json json_of(const Method& m, int64_t repeats, const std::vector<Measured>& measured) {
  ordered_json layers = ordered_json::array();
  for (const auto& layer : measured) layers.push_back(json_of(layer));
  return {{"version", core::version()},
          {"adapter", m.adapter},
          {"rank", m.rank},
          {"heads", m.heads},
          {"norm_p", m.norm_p},
          {"sparsity", m.sparsity},
          {"sparsifier", m.sparsifier},
          {"dtype", m.dtype},
          {"device", measured.front().device},
          {"threads", at::get_num_threads()},
          {"repeats", repeats},
          {"layers", std::move(layers)}};
}

std::string text_of(const ordered_json& result) {
  report::Table table({{"in", "in"},
                       {"out", "out"},
                       {"forward", "forward, ms"},
                       {"forward_min", "least"},
                       {"forward_ns", "ns an entry"},
                       {"backward", "backward with rebuild, ms"},
                       {"backward_min", "least"},
                       {"backward_ns", "ns an entry"},
                       {"peak", "peak memory, MB", 1}});
  for (const auto& l : result.at("layers")) {
    const auto ms = [&](const char* key) { return l.at(key).get<double>() * 1e3; };
    const auto& peak = l.at("peak_bytes");
    table.add({l.at("in"), l.at("out"), ms("forward_seconds"), ms("forward_seconds_min"), l.at("forward_ns_per_entry"),
               ms("backward_seconds"), ms("backward_seconds_min"), l.at("backward_ns_per_entry"),
               peak.is_null() ? nlohmann::json() : nlohmann::json(peak.get<double>() / 1e6)});
  }
  return str(table.text(), "\n", result.at("adapter").get<std::string>(), ", rank ", result.at("rank"), ", sparsity ",
             result.at("sparsity"), ", ", result.at("dtype").get<std::string>(), " on ",
             result.at("device").get<std::string>(), ", ", result.at("threads"),
             result.at("threads") == 1 ? " thread; " : " threads; ", "medians of ", result.at("repeats"), "\n");
}

void set_threads(const Method& m) {
  train::RunConfig run;
  run.threads = m.threads;
  train::set_threads(run, 1);
}

struct Options {
  std::vector<std::string> settings;
  std::string svg;
  bool json = false;
};

int tell(const ordered_json& result, bool json) {
  std::cout << (json ? result.dump(2) + "\n" : text_of(result));
  return 0;
}

int run_layer(const Options& o) {
  const auto s = read_settings<LayerSettings>(o.settings);
  set_threads(s.method);
  const Measured measured = measure(s.method, s.in, s.out, s.repeats, s.warmup);
  return tell(json_of(s.method, s.repeats, {measured}), o.json);
}

std::pair<int64_t, int64_t> parse_size(const std::string& text) {
  const size_t times = text.find('x');
  int64_t in = 0, out = 0;
  const auto read = [](std::string_view part, int64_t& value) {
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    return error == std::errc() && end == part.data() + part.size() && value > 0 && value <= 1 << 20;
  };
  const std::string_view view = text;
  if (times == std::string::npos || !read(view.substr(0, times), in) || !read(view.substr(times + 1), out)) {
    throw core::ConfigError(
        str("sizes holds '", text, "'; write input and output features with an x between them, such as 768x3072"));
  }
  return {in, out};
}

void draw(const std::string& path, const ordered_json& result) {
  report::LineChart chart;
  chart.title = str("ΔW of one layer, ", result.at("adapter").get<std::string>(), ", rank ", result.at("rank"), ", ",
                    result.at("threads"), result.at("threads") == 1 ? " thread" : " threads");
  chart.x_label = "million entries (in × out)";
  chart.y_label = "seconds";
  chart.series = {{"forward"}, {"backward with rebuild"}};
  for (const auto& l : result.at("layers")) {
    const double entries = l.at("entries").get<double>() / 1e6;
    chart.series[0].points.emplace_back(entries, l.at("forward_seconds").get<double>());
    chart.series[1].points.emplace_back(entries, l.at("backward_seconds").get<double>());
  }
  for (auto& series : chart.series) std::ranges::sort(series.points);
  io::write_file(path, report::standalone_svg(chart));
}

int run_growth(const Options& o) {
  const auto s = read_settings<GrowthSettings>(o.settings);
  std::vector<std::pair<int64_t, int64_t>> sizes;
  for (const auto& text : s.sizes) sizes.push_back(parse_size(text));
  set_threads(s.method);
  std::vector<Measured> layers;
  for (const auto& [in, out] : sizes) {
    layers.push_back(measure(s.method, in, out, s.repeats, s.warmup));
    std::cerr << str(in, "x", out, ": forward ", median(layers.back().forward), " s, backward ",
                     median(layers.back().backward), " s\n");
  }
  const ordered_json result = json_of(s.method, s.repeats, layers);
  if (!o.svg.empty()) draw(o.svg, result);
  return tell(result, o.json);
}

}  // namespace

void add_bench_layer(CLI::App& bench, Action& chosen) {
  auto o = std::make_shared<Options>();
  CLI::App* command = bench.add_subcommand(
      "layer",
      "Time of one layer's ΔW from its factors (forward), and of building it again and taking dL/dΔW back to the\n"
      "factors (backward). The GEMMs with the layer's inputs are not in it.");
  command->add_option("settings", o->settings, "key=value, see below");
  command->add_flag("--json", o->json, "print JSON");
  command->footer([] {
    return settings_footer<LayerSettings>("Settings:") +
           "\nExamples:\n  snell bench layer\n  snell bench layer in=1024 out=4096 rank=8 threads=1 repeats=100\n";
  });
  command->callback([o, &chosen] { chosen = [o] { return run_layer(*o); }; });
}

void add_bench_growth(CLI::App& bench, Action& chosen) {
  auto o = std::make_shared<Options>();
  CLI::App* command = bench.add_subcommand(
      "growth", "`bench layer` for layers of growing size. What grows linearly has equal ns an entry in all rows.");
  command->add_option("settings", o->settings, "key=value, see below");
  command->add_option("--svg", o->svg, "also write a plot of seconds against entries");
  command->add_flag("--json", o->json, "print JSON");
  command->footer([] {
    return settings_footer<GrowthSettings>("Settings:") +
           "\nExamples:\n  snell bench growth --svg growth.svg\n  snell bench growth sizes=768x768,768x3072 "
           "repeats=20\n";
  });
  command->callback([o, &chosen] { chosen = [o] { return run_growth(*o); }; });
}

}  // namespace snell::apps
