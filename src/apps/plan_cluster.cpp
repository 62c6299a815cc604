// snell plan --machine: a step's time on a cluster, what travels, and how a run scales.
#include <algorithm>
#include <cmath>
#include <functional>

#include "plan.h"
#include "snell/core/text.h"
#include "snell/io/files.h"
#include "snell/report/chart.h"
#include "snell/report/html.h"
#include "snell/report/table.h"

namespace snell::apps {
namespace {

using core::str;
using nlohmann::ordered_json;
using plan::OpKind;
using plan::Phase;
using plan::ScalingPoint;
using plan::StepTime;

constexpr double kMegabyte = 1 << 20;

plan::TwoLevel two_level_of(const train::JobConfig& config) {
  const std::string& how = config.dist.wire.two_level;
  return how == "always" ? plan::TwoLevel::kAlways : how == "never" ? plan::TwoLevel::kNever : plan::TwoLevel::kAuto;
}

double ms(double seconds) {
  return seconds * 1e3;
}

report::Table time_table(const StepTime& time) {
  report::Table table({{"what", "part of a step"}, {"ms", "ms", 3}, {"share", "share, %", 1}});
  const auto row = [&](const std::string& what, double seconds) {
    table.add({what, ms(seconds), 100 * seconds / time.seconds});
  };
  row("forward", time.of(Phase::kForward));
  row("backward", time.of(Phase::kBackward));
  row("update", time.of(Phase::kUpdate));
  if (time.core_seconds > 0) row("collectives on the ranks' own cores", time.core_seconds);
  row("waiting for collectives", time.exposed_seconds);
  row("step", time.seconds);
  return table;
}

report::Table kind_table(const StepTime& time) {
  report::Table table({{"what", "computing"}, {"ms", "ms", 3}, {"share", "share, %", 1}});
  std::vector<std::pair<double, const char*>> rows;
  for (size_t i = 0; i < time.by_kind.size(); ++i) {
    if (time.by_kind[i] > 0) rows.emplace_back(time.by_kind[i], plan::op_kind_name(static_cast<OpKind>(i)));
  }
  std::sort(rows.rbegin(), rows.rend());
  for (const auto& [seconds, name] : rows) table.add({name, ms(seconds), 100 * seconds / time.compute_seconds});
  return table;
}

report::Table traffic_table(const StepTime& time) {
  report::Table table({{"collective", "collective"},
                       {"calls", "calls"},
                       {"payload_mb", "handed in, MB"},
                       {"sent_mb", "sent by a rank, MB"},
                       {"ms", "ms", 3}});
  for (size_t i = 0; i < time.by_collective.size(); ++i) {
    const auto& t = time.by_collective[i];
    if (t.calls == 0) continue;
    table.add({plan::collective_name(static_cast<plan::Collective>(i)), t.calls, t.payload_bytes / kMegabyte,
               t.sent_bytes / kMegabyte, ms(t.seconds)});
  }
  return table;
}

// --- scaling ---

struct Curve {
  std::string name;
  std::vector<ScalingPoint> strong, weak;
};

ScalingPoint point_of(const PlanOptions& o, const Cluster& cluster, train::JobConfig config, int64_t ranks,
                      int64_t batch) {
  config.data.batch_size = batch;
  train::PlanRequest request = plan_request(config, o, ranks);
  request.ranks_per_node = cluster.ranks.per_node;
  const train::MemoryPlan plan = train::plan_memory(config, request);
  ScalingPoint point;
  point.ranks = ranks;
  point.samples = batch;
  point.busy_ranks = std::min(ranks, batch);
  point.memory_bytes = static_cast<double>(plan.largest().count.total());
  point.time = step_time(plan.step, cluster.machine, {ranks, cluster.ranks.per_node}, two_level_of(config));
  return point;
}

// Strong: the config's global batch, as far as each rank has a sample. Weak: each rank has as many samples as one rank
// of the ranks that were asked for.
Curve curve_of(const PlanOptions& o, const Cluster& cluster, const train::JobConfig& config, const std::string& name) {
  Curve curve{name, {}, {}};
  const int64_t batch = config.data.batch_size;
  const int64_t a_rank = plan::share_of(batch, cluster.ranks.count).most;
  for (const int64_t ranks : plan::doubling(o.most_ranks)) {
    if (config.dist.reproducible && config.dist.virtual_shards % ranks != 0) break;
    if (ranks <= batch) curve.strong.push_back(point_of(o, cluster, config, ranks, batch));
    curve.weak.push_back(point_of(o, cluster, config, ranks, a_rank * ranks));
  }
  return curve;
}

report::Table scaling_table(const std::vector<ScalingPoint>& points) {
  report::Table table({{"ranks", "ranks"},
                       {"samples", "global batch"},
                       {"memory_mb", "tensors a rank, MB"},
                       {"step_ms", "step, ms", 3},
                       {"exposed_ms", "waiting, ms", 3},
                       {"sent_mb", "sent by a rank, MB"},
                       {"samples_per_s", "samples a second", 1},
                       {"efficiency", "efficiency, %", 1}});
  for (const ScalingPoint& p : points) {
    double sent = 0;
    for (const auto& traffic : p.time.by_collective) sent += traffic.sent_bytes;
    table.add({p.ranks, p.samples, std::llround(p.memory_bytes / kMegabyte), ms(p.time.seconds),
               ms(p.time.exposed_seconds), sent / kMegabyte, p.samples_per_s(),
               100 * plan::efficiency(p, points.front())});
  }
  return table;
}

report::LineChart chart_of(const std::vector<Curve>& curves, const std::string& title, const std::string& y_label,
                           const std::function<double(const ScalingPoint&, const ScalingPoint&)>& y) {
  report::LineChart chart;
  chart.title = title;
  chart.x_label = "ranks, as powers of two: 0 is one rank, 10 are 1,024";
  chart.y_label = y_label;
  for (const Curve& curve : curves) {
    report::Series series{curve.name};
    for (const ScalingPoint& p : curve.weak) {
      series.points.emplace_back(std::log2(static_cast<double>(p.ranks)), y(p, curve.weak.front()));
    }
    chart.series.push_back(std::move(series));
  }
  return chart;
}

std::vector<report::LineChart> charts_of(const std::vector<Curve>& curves, const Cluster& cluster) {
  return {chart_of(curves, str("A step, as many samples a rank: ", cluster.machine.name), "milliseconds",
                   [](const ScalingPoint& p, const ScalingPoint&) { return ms(p.time.seconds); }),
          chart_of(curves, "Efficiency: samples a second a rank, to one rank's", "%",
                   [](const ScalingPoint& p, const ScalingPoint& first) { return 100 * plan::efficiency(p, first); })};
}

ClusterReport report_scaling(const PlanOptions& o, const Cluster& cluster, const Job& job) {
  std::vector<Curve> curves{curve_of(o, cluster, job.config, job.config.adapter.name)};
  if (job.config.adapter.name != "full") {
    Job full = plan_job(o, {"adapter=full"});
    full.config.run.device = job.config.run.device;
    curves.push_back(curve_of(o, cluster, full.config, "full fine-tuning"));
  }
  ClusterReport out;
  std::vector<std::pair<std::string, report::Table>> tables;
  for (const Curve& curve : curves) {
    tables.emplace_back(str(curve.name, ": the same global batch"), scaling_table(curve.strong));
    tables.emplace_back(str(curve.name, ": as many samples a rank"), scaling_table(curve.weak));
    out.json["scaling"][curve.name] = {{"strong", scaling_table(curve.strong).json()},
                                       {"weak", scaling_table(curve.weak).json()}};
  }
  for (const auto& [title, table] : tables) out.text += str("\n", title, "\n\n", table.text());
  const auto charts = charts_of(curves, cluster);
  if (!o.svg.empty()) io::write_file(o.svg, report::standalone_svg(charts.front()));
  if (!o.html.empty()) {
    report::write_charts(o.html, {.title = str("snell plan: ", cluster.machine.name),
                                  .paragraphs = {cluster.machine.source},
                                  .charts = charts,
                                  .tables = tables});
  }
  return out;
}

}  // namespace

std::optional<Cluster> plan_cluster(const PlanOptions& o) {
  if (o.machine.empty()) {
    const char* needed = o.scaling                      ? "--scaling"
                         : !o.svg.empty()               ? "--svg"
                         : !o.html.empty()              ? "--html"
                         : o.nodes                      ? "--nodes"
                         : o.ranks_per_node             ? "--gpus-per-node"
                         : !o.machine_overrides.empty() ? "machine.key=value"
                                                        : nullptr;
    if (needed != nullptr) throw core::ConfigError(str(needed, " needs --machine: a name such as h100x8, or a file"));
    return std::nullopt;
  }
  if ((!o.svg.empty() || !o.html.empty()) && !o.scaling) {
    throw core::ConfigError("--svg and --html draw what --scaling finds: add --scaling");
  }
  Cluster cluster{plan::read_machine(o.machine, o.config_dir, o.machine_overrides), {}};
  cluster.ranks.per_node = o.ranks_per_node.value_or(cluster.machine.ranks_per_node);
  cluster.ranks.count = o.ranks.value_or(o.nodes.value_or(cluster.machine.nodes) * cluster.ranks.per_node);
  if (o.nodes && o.ranks && plan::Ranks(cluster.ranks).nodes() > *o.nodes) {
    throw core::ConfigError(str("--ranks ", *o.ranks, " does not fit on --nodes ", *o.nodes, " of ",
                                cluster.ranks.per_node, " ranks each"));
  }
  return cluster;
}

ClusterReport report_cluster(const PlanOptions& o, const Cluster& cluster, const Job& job,
                             const train::MemoryPlan& memory, int64_t program_bytes) {
  const StepTime time = step_time(memory.step, cluster.machine, cluster.ranks, two_level_of(job.config));
  const plan::Share share = plan::share_of(job.config.data.batch_size, cluster.ranks.count);
  const double samples = static_cast<double>(job.config.data.batch_size);
  const report::Table parts = time_table(time), kinds = kind_table(time), traffic = traffic_table(time);
  ClusterReport out;
  out.text = str(cluster.ranks.count, cluster.ranks.count == 1 ? " rank on " : " ranks on ", cluster.ranks.nodes(),
                 cluster.ranks.nodes() == 1 ? " node" : " nodes", " of ", cluster.machine.name, " (",
                 cluster.machine.source, "), ", share.most, " of ", job.config.data.batch_size, " samples a rank\n\n");
  out.text += parts.text() + "\n" + kinds.text();
  if (traffic.num_rows() > 0) out.text += "\n" + traffic.text();
  out.text += str("\nsamples a second ", std::llround(10 * samples / time.seconds) / 10.0, "\n");
  out.json["machine"] = {
      {"name", cluster.machine.name},   {"source", cluster.machine.source},
      {"ranks", cluster.ranks.count},   {"ranks_per_node", cluster.ranks.per_node},
      {"nodes", cluster.ranks.nodes()}, {"program_mb", static_cast<double>(program_bytes) / kMegabyte}};
  out.json["step"] = {{"seconds", time.seconds},
                      {"compute_seconds", time.compute_seconds},
                      {"forward_seconds", time.of(Phase::kForward)},
                      {"backward_seconds", time.of(Phase::kBackward)},
                      {"update_seconds", time.of(Phase::kUpdate)},
                      {"communication_seconds", time.communication_seconds},
                      {"exposed_seconds", time.exposed_seconds},
                      {"core_seconds", time.core_seconds},
                      {"samples_per_second", samples / time.seconds},
                      {"flops", memory.step.flops()},
                      {"trainable_bytes", memory.trainable_bytes},
                      {"kinds", kinds.json()},
                      {"collectives", traffic.json()}};
  if (o.scaling) {
    const ClusterReport scaling = report_scaling(o, cluster, job);
    out.text += scaling.text;
    out.json.update(scaling.json);
  }
  return out;
}

}  // namespace snell::apps
